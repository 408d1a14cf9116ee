"""Many sessions of one engine watch the same frames and are asked the same questions, in common forwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from hermes_stream.engine.session import Session
from hermes_stream.types import Frame

_Key = TypeVar("_Key")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Stop:
    """A moment at which sessions are asked. due: which of the times. newest_seconds: of the newest frame, -inf if none
    came. pool: a thread for each session. is_end: no frame comes any more."""

    due: range
    newest_seconds: float
    pool: ThreadPoolExecutor
    is_end: bool = False


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
                self.drop(key, error)
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

    def drop(self, key: _Key, error: Exception) -> None:
        """Take a session out because of an error."""
        self.failed[key] = error
        self.sessions.pop(key).close()


def stop_in_time(
    side: SideBySide[_Key], frames: Iterable[Frame], times: Sequence[float], *, batch_frames: int, to_end: bool = False
) -> Iterator[Stop]:
    """Watch, and stop at these times: then every frame up to and including the time is in, and none after.

    times: rising; infinity is the end of the video. batch_frames: frames that are handed over at once where no stop
    comes between; times between the same two frames are one stop. A time before the first frame waits for that one.
    to_end: watch what comes after the last time too. Ends early where nobody is left.
    """
    n_done, n_watched, newest_seconds = 0, 0, -math.inf
    with ThreadPoolExecutor(max(len(side.sessions), 1)) as pool:
        batch: list[Frame] = []
        for frame in frames:
            n_due = sum(time < frame.pts_seconds for time in times[n_done:]) if n_watched else 0
            if n_due or len(batch) == batch_frames:
                side.watch(batch, pool)
                batch = []
            if n_due:
                yield Stop(range(n_done, n_done + n_due), newest_seconds, pool)
                n_done += n_due
            if not side.sessions or (n_done == len(times) and not to_end):
                return
            batch.append(frame)
            n_watched, newest_seconds = n_watched + 1, frame.pts_seconds
        side.watch(batch, pool)
        if n_done < len(times) and side.sessions:
            yield Stop(range(n_done, len(times)), newest_seconds, pool, is_end=True)


def _n_watched(session: Session) -> int:
    """Frames that are in, also those that wait for a partner."""
    return session.memory.frames_seen + len(session.stream.waiting)
