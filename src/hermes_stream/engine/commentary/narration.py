"""A stream's commentary, as its user sees it: frames in, words or silence out, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.commentary.following import Pulse, PulseMeter, StepQueue
from hermes_stream.engine.commentary.state import CommentarySettings
from hermes_stream.engine.commentary.steps import in_steps
from hermes_stream.types import Frame

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session


@dataclass(frozen=True, slots=True)
class Remark:
    """What was said about one step of a stream; the text is empty where that is nothing.

    start_seconds, end_seconds: of the step. token_ids: as they were decoded. is_cut: whether the budget ended it.
    was_skipped: whether nobody tried to speak. seconds: from the frames to the last word; speaking_seconds: of these,
    from when they were in. lag_seconds: from when the source had brought them; 0 where it is not followed.
    """

    start_seconds: float
    end_seconds: float
    text: str
    token_ids: tuple[int, ...] = ()
    is_cut: bool = False
    was_skipped: bool = False
    seconds: float = 0.0
    speaking_seconds: float = 0.0
    lag_seconds: float = 0.0


class Narration:
    """Gives frames to a session and gets words. Made by `Session.narrate`; one thread at a time.

    The session can be asked, forked and saved meanwhile; a reply that is not finished then is silence in a fork.
    """

    def __init__(self, engine: Engine, session: Session, settings: CommentarySettings) -> None:
        self._engine, self._session, self.settings = engine, session, settings
        self._meter, self._n_dropped = PulseMeter(settings.step_seconds), 0

    @property
    def pulse(self) -> Pulse:
        """How it keeps up."""
        return self._meter.pulse(self._n_dropped)

    def watch(self, frames: Frame | Iterable[Frame]) -> Iterator[Remark]:
        """A remark for each step that has frames, as soon as the first frame of a later one is there, or none is left.

        Frames of one step that come in two calls are two rounds. Raises UsageError if times fall.
        """
        for step, shown in in_steps([frames] if isinstance(frames, Frame) else frames, self.settings.step_seconds):
            yield self.round(step, shown)

    def follow(self, frames: Iterable[Frame], *, most_waiting: int = 4) -> Iterator[Remark]:
        """The same for a source that brings frames at its own pace and is read on a thread of its own.

        Where speaking takes too long, steps are watched in silence; where watching does, the oldest of more than
        `most_waiting` steps are dropped, as `pulse` says. What the source raises comes behind its last step.
        """
        steps = StepQueue(frames, self.settings.step_seconds, most_waiting)
        try:
            while (due := steps.take()) is not None:
                remark = self.round(due.step, due.frames, speaks=not due.waits_behind, arrived=due.arrived)
                self._n_dropped = steps.n_dropped
                yield remark
        finally:
            steps.stop()

    def round(self, step: int, frames: Sequence[Frame], *, speaks: bool = True, arrived: float | None = None) -> Remark:
        """Watch the frames of one step, then speak, or be silent without trying.

        arrived: when the frames were there, by `time.monotonic`.
        """
        began = time.monotonic()
        stream = self._session.stream
        n_before = 0 if stream.commentary is None else stream.commentary.n_rounds
        self._engine.submit_round(self._session, frames, step).result()
        times, watched, commentary = self.settings.times_of(step), time.monotonic(), stream.commentary
        # Frames for which memory ran out, or that were forgotten on their way, begin no round.
        if commentary is None or commentary.n_rounds == n_before or not speaks:
            remark = Remark(*times, "", was_skipped=True)
        else:
            remark = self._speak(commentary.round_index, times)
        ended = time.monotonic()
        speaking_seconds, lag_seconds = ended - watched, 0.0 if arrived is None else ended - arrived
        self._meter.count(len(remark.token_ids), speaking_seconds, lag_seconds, was_skipped=remark.was_skipped)
        return replace(remark, seconds=ended - began, speaking_seconds=speaking_seconds, lag_seconds=lag_seconds)

    def _speak(self, round_index: int, times: tuple[float, float]) -> Remark:
        with AnswerStream(self.settings.query(round_index)) as words:
            self._engine.submit_speech(self._session, words)
            said = words.result()
        return Remark(*times, said.text, said.token_ids, is_cut=said.finish_reason == "length")
