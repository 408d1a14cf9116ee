"""Many sessions of one engine watch the same frames and are asked the same questions, in common forwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from hermes_stream.engine.session import Session
from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.errors import HermesError
from hermes_stream.types import Answer, Frame

_Key = TypeVar("_Key")
_Label = TypeVar("_Label")


def answer_side_by_side(
    sessions: Mapping[_Key, Session],
    frames: Iterable[Frame],
    questions: Sequence[TimedQuestion[_Label]],
    *,
    batch_frames: int,
) -> Iterator[tuple[_Label, dict[_Key, Answer]]]:
    """Yields each question's label with the answer of each session, in time order.

    As in `answer_in_time`, a question sees every frame up to and including its time. batch_frames: frames that are
    handed over at once where no question comes between. Times in these answers mean nothing: sessions wait for another.
    What goes wrong in one session ends the round for all; the error names the session's key.
    """
    waiting = sorted(questions, key=lambda question: question.time_seconds)
    with ThreadPoolExecutor(len(sessions)) as pool:

        def watch(batch: Sequence[Frame]) -> None:
            for key, done in [(key, pool.submit(session.watch, batch)) for key, session in sessions.items()]:
                with _naming(key):
                    done.result()

        def ask(question: TimedQuestion[_Label]) -> tuple[_Label, dict[_Key, Answer]]:
            streams = {key: session.ask(question.query) for key, session in sessions.items()}
            answers = {}
            for key, stream in streams.items():
                with _naming(key):
                    answers[key] = stream.result()
            return question.label, answers

        batch: list[Frame] = []
        for frame in frames:
            while waiting and waiting[0].time_seconds < frame.pts_seconds:
                watch(batch)
                batch = []
                yield ask(waiting.pop(0))
            batch.append(frame)
            if len(batch) == batch_frames:
                watch(batch)
                batch = []
        watch(batch)
        for question in waiting:
            yield ask(question)


@contextmanager
def _naming(key: object) -> Iterator[None]:
    try:
        yield
    except HermesError as error:
        raise type(error)(f"{key}: {error}") from error
