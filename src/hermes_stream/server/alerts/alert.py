"""One standing question of a session: what a client asked for, and what its looks have found."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hermes_stream.engine.standing import StandingQuestion, Trigger

_MOST_LOOKS = 512


class Webhook(BaseModel):
    """Where alerts are sent to. secret: what they are signed with; without one they are not signed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Both may let somebody in: they are shown to nobody, and kept out of representations.
    url: Annotated[str, Field(min_length=1, max_length=4096, repr=False)]
    secret: Annotated[str, Field(min_length=8, max_length=256)] | None = Field(default=None, repr=False)


class AlertRequest(BaseModel):
    """A standing question. Everything but its text has a default; see `StandingQuestion`.

    hold_s, hold_looks, cooldown_s, every: its `hold_seconds`, `hold_looks`, `cooldown_seconds`, `every_frames`.
    name: for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    question: Annotated[str, Field(max_length=100_000)]
    choices: tuple[Annotated[str, Field(max_length=1000)], ...] = ("yes", "no")
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    hold_s: Annotated[float, Field(ge=0)] = 0.0
    hold_looks: Annotated[int, Field(ge=1, le=100_000)] = 1
    cooldown_s: Annotated[float, Field(ge=0)] = 0.0
    every: Annotated[int, Field(ge=1, le=100_000)] | None = None
    webhook: Webhook | None = None
    name: Annotated[str, Field(max_length=200)] | None = None

    def to_question(self) -> StandingQuestion:
        """Raises UsageError for what no model could be asked."""
        return StandingQuestion(
            question=self.question,
            choices=self.choices,
            threshold=self.threshold,
            hold_seconds=self.hold_s,
            hold_looks=self.hold_looks,
            cooldown_seconds=self.cooldown_s,
            every_frames=self.every,
        )


class Alert:
    """A standing question that is being looked at. Used on the server's loop.

    looks: the newest ones, times and probabilities. n_skipped: looks that were due and not made, or failed: the one
    before was still under way. error: why the newest look failed; empty if it did not.
    """

    def __init__(
        self,
        name: str,
        request: AlertRequest,
        created_seconds: float,
        *,
        every_frames: int,
        n_frames: int,
        trigger: Trigger | None = None,
        n_looks: int = 0,
        n_skipped: int = 0,
    ) -> None:
        """every_frames: between two looks. n_frames: that the session has seen by now. created_seconds: since 1970."""
        self.name, self.request, self.created_seconds = name, request, created_seconds
        self.question = request.to_question()
        self.trigger = trigger or Trigger()
        self.looks: deque[tuple[float, float]] = deque(maxlen=_MOST_LOOKS)
        self.n_looks, self.n_skipped = n_looks, n_skipped
        self.error = ""
        self._every_frames, self._n_frames = every_frames, n_frames
        self._is_looking = False

    def begin_look(self, n_frames: int) -> bool:
        """Whether to look, now that the session has seen so many frames.

        Looks are due at multiples of `every_frames`. One at a time: those that fall due meanwhile, or together with
        others, are skipped.
        """
        n_due = n_frames // self._every_frames - self._n_frames // self._every_frames
        self._n_frames = n_frames
        if n_due < 1:
            return False
        if self._is_looking:
            self.n_skipped += n_due
            return False
        self.n_skipped += n_due - 1
        self._is_looking = True
        return True

    def end_look(self, error: str | None = None) -> None:
        """The look is over. error: what it failed with; "" if nothing is known of it."""
        self._is_looking = False
        if error is None:
            self.n_looks += 1
            self.error = ""
        else:
            self.n_skipped += 1
            self.error = error

    def record(self) -> dict[str, Any]:
        """All that a restart needs."""
        return {
            "request": self.request.model_dump(),
            "created_s": self.created_seconds,
            "trigger": asdict(self.trigger),
            "n_looks": self.n_looks,
            "n_skipped": self.n_skipped,
        }

    @staticmethod
    def of_record(name: str, record: dict[str, Any], *, every_frames: int, n_frames: int) -> Alert:
        """What `record` gave."""
        request = AlertRequest.model_validate(record["request"])
        return Alert(
            name,
            request,
            record["created_s"],
            every_frames=request.every or every_frames,
            n_frames=n_frames,
            trigger=Trigger(**record["trigger"]),
            n_looks=record["n_looks"],
            n_skipped=record["n_skipped"],
        )

    def to_json(self) -> dict[str, Any]:
        """As the API gives it, but for its webhook, hits and looks."""
        request, trigger = self.request, self.trigger
        newest = self.looks[-1] if self.looks else (trigger.looked_seconds, None)
        return {
            "id": self.name,
            **request.model_dump(exclude={"webhook", "every"}),
            "every": self._every_frames,
            "created_s": round(self.created_seconds, 3),
            "time_s": newest[0],
            "probability": newest[1],
            "since_s": trigger.above_since_seconds,
            "is_armed": trigger.is_armed,
            "n_hits": trigger.n_hits,
            "last_hit_s": trigger.fired_seconds,
            "n_looks": self.n_looks,
            "n_skipped": self.n_skipped,
            "error": self.error,
        }
