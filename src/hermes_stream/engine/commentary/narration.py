"""A stream's commentary, as its user sees it: frames in, words or silence out, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.commentary.state import CommentarySettings
from hermes_stream.errors import UsageError
from hermes_stream.types import Frame

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session


@dataclass(frozen=True, slots=True)
class Remark:
    """What was said about one step of a stream; the text is empty where that is nothing.

    start_seconds, end_seconds: of the step. token_ids: as they were decoded. is_cut: whether the budget ended it.
    was_skipped: whether nobody spoke, to keep up. seconds: from the frames to the last word; speaking_seconds: of
    these, from when they were in.
    """

    start_seconds: float
    end_seconds: float
    text: str
    token_ids: tuple[int, ...] = ()
    is_cut: bool = False
    was_skipped: bool = False
    seconds: float = 0.0
    speaking_seconds: float = 0.0


class Narration:
    """Gives frames to a session and gets words. Made by `Session.narrate`; one thread at a time.

    The session can be asked, forked and saved meanwhile; a reply that is not finished then is silence in a fork.
    """

    def __init__(self, engine: Engine, session: Session, settings: CommentarySettings) -> None:
        self._engine, self._session, self.settings = engine, session, settings

    def watch(self, frames: Frame | Iterable[Frame]) -> Iterator[Remark]:
        """A remark for each step that has frames, as soon as the first frame of a later one is there, or none is left.

        Raises UsageError if times fall, or for frames of a step that is over.
        """
        for step, shown in in_steps([frames] if isinstance(frames, Frame) else frames, self.settings):
            yield self.round(step, shown)

    def round(self, step: int, frames: Sequence[Frame], *, speaks: bool = True) -> Remark:
        """Watch the frames of one step, then speak, or be silent without trying."""
        began = time.perf_counter()
        stream = self._session.stream
        n_before = stream.commentary.n_rounds if stream.commentary is not None else 0
        self._engine.submit_round(self._session, frames, step).result()
        times, watched = self.settings.times_of(step), time.perf_counter()
        commentary = stream.commentary
        # Frames for which memory ran out, or that were forgotten on their way, begin no round.
        if commentary is None or commentary.n_rounds == n_before or not speaks:
            return Remark(*times, "", was_skipped=True, seconds=watched - began)
        with AnswerStream(self.settings.query(commentary.round_index)) as words:
            self._engine.submit_speech(self._session, words)
            said = words.result()
        ended = time.perf_counter()
        return Remark(
            *times,
            said.text,
            said.token_ids,
            is_cut=said.finish_reason == "length",
            seconds=ended - began,
            speaking_seconds=ended - watched,
        )


def in_steps(frames: Iterable[Frame], settings: CommentarySettings) -> Iterator[tuple[int, list[Frame]]]:
    """Frames by the number of their step, in order. Raises UsageError if times fall."""
    step, shown, last = None, list[Frame](), float("-inf")
    for frame in frames:
        if frame.pts_seconds < last:
            raise UsageError(
                f"a frame at {frame.pts_seconds:.3f} s came after one at {last:.3f} s; times must not fall"
            )
        last = frame.pts_seconds
        now = settings.step_of(frame.pts_seconds)
        if step is not None and now != step:
            yield step, shown
            shown = []
        step = now
        shown.append(frame)
    if step is not None:
        yield step, shown
