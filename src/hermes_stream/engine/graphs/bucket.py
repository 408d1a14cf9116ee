"""Which static shape serves a forward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

QUESTION_ROWS = (16, 32, 64, 128)
DECODE_SEGMENTS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, order=True)
class Bucket:
    """Room for one question of up to `n_rows` tokens, or for one token of each of up to `n_segments` answers."""

    n_segments: int
    n_rows: int

    @property
    def is_decode(self) -> bool:
        """Whether each segment is one token, known by its id."""
        return self.n_segments == self.n_rows

    def __str__(self) -> str:
        return f"1 token of {self.n_segments} answers" if self.is_decode else f"a question of {self.n_rows} tokens"


def question_bucket(n_tokens: int) -> Bucket | None:
    """The smallest bucket for a question of so many tokens; None if it is too long for any."""
    n_rows = _smallest(QUESTION_ROWS, n_tokens)
    return None if n_rows is None else Bucket(1, n_rows)


def decode_bucket(n_answers: int) -> Bucket | None:
    """The smallest bucket for a decode step of so many answers; None if they are too many for any."""
    n_segments = _smallest(DECODE_SEGMENTS, n_answers)
    return None if n_segments is None else Bucket(n_segments, n_segments)


def buckets_up_to(question_tokens: int, sessions: int) -> list[Bucket]:
    """All buckets that questions of up to so many tokens, of up to so many sessions at once, need."""
    questions = (question_bucket(n) for n in _up_to(QUESTION_ROWS, question_tokens))
    decodes = (decode_bucket(n) for n in _up_to(DECODE_SEGMENTS, sessions))
    return [bucket for bucket in (*questions, *decodes) if bucket is not None]


def _smallest(sizes: tuple[int, ...], n: int) -> int | None:
    return next((size for size in sizes if size >= n), None)


def _up_to(sizes: tuple[int, ...], most: int) -> Iterable[int]:
    """Sizes that hold some number from 1 to `most`."""
    return [size for smaller, size in zip((0, *sizes), sizes, strict=False) if smaller < most]
