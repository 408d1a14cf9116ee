"""Many sessions of one engine watch the same frames and are asked the same questions, in common forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from hermes_stream.engine.session import Session
from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.types import Answer, Frame

_Key = TypeVar("_Key")
_Label = TypeVar("_Label")
_Result = TypeVar("_Result")


class SideBySide(Generic[_Key]):
    """Sessions under their keys, and who fell out: a failure is its own session's, and the others go on.

    sessions: those still in. failed: what ended the others.
    """

    def __init__(self, sessions: dict[_Key, Session]) -> None:
        self.sessions = dict(sessions)
        self.failed: dict[_Key, Exception] = {}

    def try_each(self, function: Callable[[Session], _Result]) -> dict[_Key, _Result]:
        """The function's result for each session, one after the other; whose raises falls out."""
        results = {}
        for key, session in list(self.sessions.items()):
            try:
                results[key] = function(session)
            except Exception as error:  # a policy is foreign code: it may raise anything
                self.failed[key] = error
                del self.sessions[key]
                session.close()
        return results

    def watch(self, frames: Sequence[Frame], pool: ThreadPoolExecutor) -> None:
        """All at once. Who shares a failed forward with the one who broke it gets another, alone."""
        began = {session: _n_watched(session) for session in self.sessions.values()}
        running = {session: pool.submit(session.watch, frames) for session in self.sessions.values()}
        failed = {session for session, done in running.items() if done.exception() is not None}
        if failed:
            self.try_each(
                lambda session: (
                    session.watch(frames[_n_watched(session) - began[session] :]) if session in failed else None
                )
            )

    def ask(self, questions: Sequence[TimedQuestion[_Label]]) -> list[tuple[_Label, dict[_Key, Answer]]]:
        """All at once, of what has been watched by now."""
        asked = {session: [session.ask(question.query) for question in questions] for session in self.sessions.values()}

        def answers_of(session: Session) -> list[Answer]:
            answers = []
            for question, stream in zip(questions, asked[session], strict=True):
                try:
                    answers.append(stream.result())
                except Exception:  # perhaps another session's: alone it shows
                    answers.append(session.ask(question.query).result())
            return answers

        answers = self.try_each(answers_of)
        return [
            (question.label, {key: of_key[index] for key, of_key in answers.items()})
            for index, question in enumerate(questions)
        ]


def answer_side_by_side(
    side: SideBySide[_Key],
    frames: Iterable[Frame],
    questions: Sequence[TimedQuestion[_Label]],
    *,
    batch_frames: int,
) -> Iterator[tuple[_Label, dict[_Key, Answer]]]:
    """Yields each question's label with the answer of each session that is still in, in time order.

    As in `answer_in_time`, a question sees every frame up to and including its time. batch_frames: frames that are
    handed over at once where no question comes between. Questions between the same two frames are answered together.
    Times in these answers mean nothing: sessions wait for one another. Ends early where nobody is left.
    """
    waiting = sorted(questions, key=lambda question: question.time_seconds)
    with ThreadPoolExecutor(max(len(side.sessions), 1)) as pool:
        batch: list[Frame] = []
        for frame in frames:
            n_due = sum(question.time_seconds < frame.pts_seconds for question in waiting)
            if n_due or len(batch) == batch_frames:
                side.watch(batch, pool)
                batch = []
            if n_due:
                yield from side.ask(waiting[:n_due])
                waiting = waiting[n_due:]
            if not side.sessions:
                return
            batch.append(frame)
        side.watch(batch, pool)
        yield from side.ask(waiting)


def _n_watched(session: Session) -> int:
    """Frames that are in, also those that wait for a partner."""
    return session.memory.frames_seen + len(session.stream.waiting)
