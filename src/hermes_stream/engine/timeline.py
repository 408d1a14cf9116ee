"""Questions at their moments of a video: what `ask`, `demo` and evaluations share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from hermes_stream.engine.session import Session
from hermes_stream.types import Answer, Frame, Query

_Label = TypeVar("_Label")


@dataclass(frozen=True, slots=True)
class TimedQuestion(Generic[_Label]):
    """time_seconds: when to ask; infinity is the end of the video. label: whatever the caller wants back."""

    time_seconds: float
    query: Query
    label: _Label


def answer_in_time(
    session: Session,
    frames: Iterable[Frame],
    questions: Sequence[TimedQuestion[_Label]],
    *,
    batch_frames: int,
    remember: bool = False,
) -> Iterator[tuple[TimedQuestion[_Label], Answer]]:
    """Watch, and stop at each question's time: it sees every frame up to and including that time, and none after.

    Questions are answered in time order, those of one time in the given order; those after the last frame at the end.
    batch_frames: frames that are handed to the session at once where no question comes between.
    """
    waiting = sorted(questions, key=lambda question: question.time_seconds)
    batch: list[Frame] = []
    for frame in frames:
        while waiting and waiting[0].time_seconds < frame.pts_seconds:
            session.watch(batch)
            batch = []
            yield waiting[0], _ask(session, waiting.pop(0), remember)
        batch.append(frame)
        if len(batch) == batch_frames:
            session.watch(batch)
            batch = []
    session.watch(batch)
    for question in waiting:
        yield question, _ask(session, question, remember)


def _ask(session: Session, question: TimedQuestion[_Label], remember: bool) -> Answer:
    return session.ask(question.query, remember=remember).result()
