"""Who judges open answers. What a judge is asked is pinned: the same key must mean the same verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

HIGHEST_SCORE = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """is_right: None where the judge's own reply could not be read. score: 0 to `HIGHEST_SCORE`, None without one.

    raw: what the judge wrote.
    """

    is_right: bool | None
    score: float | None
    raw: str


class Judge(Protocol):
    """Compares an answer with the truth; may be slow, and must raise TaskError where it cannot be reached."""

    @property
    def manifest(self) -> dict[str, str]:
        """Model, revision, hash of the prompt, decoding: what a result must say of its judge."""
        ...

    def cache_key(self, question: str, gold: str, prediction: str) -> str:
        """The same for the same judge, prompt and texts only."""
        ...

    def judge(self, question: str, gold: str, prediction: str) -> Verdict:
        """One verdict."""
        ...
