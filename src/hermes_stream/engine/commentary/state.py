"""What a stream knows of its commentary: immutable values, which forks and snapshots take along."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hermes_stream.engine.commentary.steps import TIME_SLACK
from hermes_stream.errors import UsageError
from hermes_stream.types import Query

# What policies that look at questions are asked where there is no instruction.
_NO_INSTRUCTION = "What happens?"


@dataclass(frozen=True, slots=True)
class CommentarySettings:
    """How a stream is narrated, from its first frame to its last.

    instruction: what is wanted, as the model reads it; empty for none. previous: words of before the first frame.
    step_seconds: of a round. tokens_per_second: the most that is said, silence and the end of the turn included.
    temperature, repetition_penalty, seed: as of a `Query`; each round draws with a seed of its own.
    """

    instruction: str
    previous: str = ""
    step_seconds: float = 1.0
    tokens_per_second: float = 20.0
    temperature: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for times and numbers of tokens that cannot be."""
        for name in ("step_seconds", "tokens_per_second"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"the commentary's {name} is {value!r}; expected a number above 0")
        self.query(0)

    def query(self, round_index: int) -> Query:
        """How the words of a round are drawn."""
        return Query(
            self.instruction.strip() or _NO_INSTRUCTION,
            max_new_tokens=max(int(self.tokens_per_second * self.step_seconds + TIME_SLACK), 1),
            temperature=self.temperature,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed + round_index,
        )

    def times_of(self, step: int) -> tuple[float, float]:
        """When a step begins and ends."""
        return step * self.step_seconds, (step + 1) * self.step_seconds


@dataclass(frozen=True, slots=True)
class Commentary:
    """Where a commentary stands.

    n_rounds: that have begun. first_seconds, last_seconds: of the frames of the newest one.
    is_open: whether its frames are in and its reply is not. reply: the tokens that were said since, the one that ended
        them apart; None is silence.
    """

    settings: CommentarySettings
    n_rounds: int = 0
    first_seconds: float = 0.0
    last_seconds: float = 0.0
    is_open: bool = False
    reply: tuple[int, ...] | None = None

    @property
    def round_index(self) -> int:
        """Of the newest round."""
        return self.n_rounds - 1

    def begun(self, first_seconds: float, last_seconds: float) -> Commentary:
        """Once the frames of the next round are in."""
        return Commentary(self.settings, self.n_rounds + 1, first_seconds, last_seconds, is_open=True)

    def closed(self) -> Commentary:
        """Once the reply is in."""
        return replace(self, is_open=False, reply=None)

    def without(self, start_seconds: float, end_seconds: float) -> Commentary:
        """The same, without words about frames of some time that are not in the memory yet."""
        is_about = self.first_seconds < end_seconds and self.last_seconds >= start_seconds
        return replace(self, reply=None if is_about else self.reply)
