"""Standing questions: "tell me when ...", decided look by look from the model's own probability. Pure values.

A look is one `Session.score` of the question: nothing is answered or changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hermes_stream.errors import UsageError
from hermes_stream.types import Query

_MOST_CHOICES = 26


class StandingQuestion(BaseModel):
    """What to look for, and when that counts as found.

    choices: possible answers; the first one is the hit. They must begin with different tokens.
    threshold: of the probability of the first choice, given that the answer is one of them.
    hold_seconds, hold_looks: a hit must have been at or above the threshold for so long, in so many looks in a row.
    cooldown_seconds: between two hits. every_frames: between two looks; by default a compression interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    question: str
    choices: tuple[str, ...] = ("yes", "no")
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    hold_seconds: Annotated[float, Field(ge=0)] = 0.0
    hold_looks: Annotated[int, Field(ge=1)] = 1
    cooldown_seconds: Annotated[float, Field(ge=0)] = 0.0
    every_frames: Annotated[int, Field(ge=1)] | None = None

    @field_validator("question")
    @classmethod
    def _check_question(cls, question: str) -> str:
        """Raise UsageError for what no model could be asked."""
        return Query(question).text

    @field_validator("choices")
    @classmethod
    def _check_choices(cls, choices: tuple[str, ...]) -> tuple[str, ...]:
        words = {choice.strip().lower() for choice in choices}
        if not 2 <= len(choices) <= _MOST_CHOICES or "" in words or len(words) < len(choices):
            raise UsageError(
                f"the choices are {list(choices)}; expected 2 to {_MOST_CHOICES} different answers, the hit first, "
                "such as ['yes', 'no']"
            )
        return choices

    @property
    def rearm_probability(self) -> float:
        """Below this the trigger is armed again: half the odds of the threshold, t / (2 - t).

        A margin in odds fits any threshold, because looks vary in logits. Of the bundled models' looks at "Has a KIND
        appeared by now?" near even odds, three in four move the log-odds by less than 0.55; half the odds are 0.69.
        """
        return self.threshold / (2 - self.threshold)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Where a standing question stands after its looks: a value that can be kept and taken up again.

    looked_seconds: of the newest look. above_since_seconds: of the first of the looks in a row that are at or above the
    threshold, None where the newest is not; n_above: how many these are. fired_seconds: of the newest hit, n_hits: of
    all. is_armed: whether it may fire; it may from the start, so that what is so already is told.
    """

    looked_seconds: float | None = None
    above_since_seconds: float | None = None
    n_above: int = 0
    fired_seconds: float | None = None
    n_hits: int = 0
    is_armed: bool = True

    def after(
        self, question: StandingQuestion, time_seconds: float, probability: float, *, after_gap: bool = False
    ) -> Trigger:
        """The trigger after one look more; it has fired if `n_hits` has grown.

        It fires once its question has been held, if it is armed and has cooled down: a hit that begins in the cool-down
        and lasts is told at its end. Then it must fall below `rearm_probability` before it may fire again.
        after_gap: nothing was seen for a while before this look, so that what was held has to be held anew.
        A look at a time that was looked at, or passed, says nothing new: the same trigger.
        """
        if self.looked_seconds is not None and time_seconds <= self.looked_seconds:
            return self
        looked = self._looked(question, time_seconds, probability, after_gap=after_gap)
        if not looked._is_due(question, time_seconds):
            return looked
        return replace(looked, fired_seconds=time_seconds, n_hits=self.n_hits + 1, is_armed=False)

    def _looked(
        self, question: StandingQuestion, time_seconds: float, probability: float, *, after_gap: bool
    ) -> Trigger:
        is_armed = self.is_armed or probability < question.rearm_probability
        if not probability >= question.threshold:
            return replace(self, looked_seconds=time_seconds, above_since_seconds=None, n_above=0, is_armed=is_armed)
        goes_on = self.above_since_seconds is not None and not after_gap
        return replace(
            self,
            looked_seconds=time_seconds,
            above_since_seconds=self.above_since_seconds if goes_on else time_seconds,
            n_above=self.n_above + 1 if goes_on else 1,
        )

    def _is_due(self, question: StandingQuestion, time_seconds: float) -> bool:
        if not self.is_armed or self.above_since_seconds is None:
            return False
        is_held = (
            time_seconds - self.above_since_seconds >= question.hold_seconds and self.n_above >= question.hold_looks
        )
        return is_held and (
            self.fired_seconds is None or time_seconds - self.fired_seconds >= question.cooldown_seconds
        )
