"""A video as a camera would send it: frames come by the clock, late ones are dropped, no question holds them up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.session import Session
from hermes_stream.evals.asking import Asker, Due, Given, error_reply
from hermes_stream.evals.item import Reply
from hermes_stream.evals.one_pass import BEFORE_THE_START, Clip
from hermes_stream.evals.task import Task
from hermes_stream.types import Frame

# Threads that wait for answers: follow-ups of more questions than these at once come late.
_MOST_AT_ONCE = 16
_SUSTAIN_SECONDS = 3.0
_SUSTAIN_INTERVALS = 3
_N_HALVINGS = 5
_LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What became of a clip's frames. lag_seconds: from the newest that is in to the newest that came, at the end."""

    n_offered: int
    n_dropped: int
    lag_seconds: float


class WallClock:
    """One session watches one clip by the clock. speed: of the clock, 2 shows the clip in half its time.

    Questions of a dialogue, and those that a policy is told of, are asked one after the other as in `Asker`; all others
    at their time, whatever is still being answered.
    """

    def __init__(
        self,
        session: Session,
        task: Task,
        known: Mapping[str, Reply],
        *,
        fps: float,
        speed: float = 1.0,
        wants_logits: bool = False,
    ) -> None:
        self._session, self._tick_seconds, self._speed = session, 1 / fps, speed
        self._asker = Asker(session, task, known, wants_logits=wants_logits)
        self._ordered, self._free = ThreadPoolExecutor(1), ThreadPoolExecutor(_MOST_AT_ONCE)
        self._running: list[tuple[Due, Future[list[Given]]]] = []
        self._start_seconds = self._first_seconds = 0.0
        self.arrivals = Arrivals(0, 0, 0.0)

    def run(self, frames: Iterable[Frame], clip: Clip) -> Iterator[list[Given]]:
        """What came back, as it comes; ends when the last question is answered. `arrivals` then says what was lost."""
        waiting, n_offered, newest_seconds = list(clip.dues), 0, 0.0
        try:
            for frame in frames:
                if not n_offered:
                    self._begin(frame)
                while n_offered and waiting and waiting[0].seconds < frame.pts_seconds:
                    self._submit(waiting.pop(0))
                self._wait_until(frame.pts_seconds)
                self._session.offer(frame)
                n_offered, newest_seconds = n_offered + 1, frame.pts_seconds
                yield self._finished()
            for due in waiting:
                self._submit(replace(due, seconds=min(due.seconds, newest_seconds + self._tick_seconds)))
            yield self._finished(waits=True)
        finally:
            self._ordered.shutdown(cancel_futures=True)
            self._free.shutdown(cancel_futures=True)
        stats = self._session.stats
        self.arrivals = Arrivals(n_offered, stats.frames_dropped, round(stats.lag_seconds, 3))

    def _begin(self, frame: Frame) -> None:
        self._start_seconds, self._first_seconds = time.perf_counter(), frame.pts_seconds

    def _wait_until(self, stream_seconds: float) -> None:
        at_seconds = self._start_seconds + (stream_seconds - self._first_seconds) / self._speed
        time.sleep(max(0.0, at_seconds - time.perf_counter()))

    def _submit(self, due: Due) -> None:
        """Ask at its time, and wait for nothing."""
        self._wait_until(due.seconds)
        if due.seconds < self._first_seconds:
            due = replace(due, flags=(*due.flags, BEFORE_THE_START))
        if self._asker.is_ordered(due):
            running = self._ordered.submit(lambda: list(self._asker.ask([due])))
        else:
            # Before the next frame comes, not when a thread is free.
            running = self._free.submit(self._asker.start(due))
        self._running.append((due, running))

    def _finished(self, *, waits: bool = False) -> list[Given]:
        """What has come back since; whatever went wrong is the error of its question."""
        ended = [pair for pair in self._running if waits or pair[1].done()]
        self._running = [pair for pair in self._running if pair not in ended]
        given: list[Given] = []
        for due, future in ended:
            error = future.exception()
            if isinstance(error, Exception):
                given.append(Given(due.item, due.ask, error_reply(due, error)))
            else:
                given += future.result()
        return given


def highest_fps(session: Session, pictures: Sequence[NDArray[np.uint8]], tick_seconds: float) -> float:
    """The most frames a second of which none is dropped, to a sixteenth of what one interval alone lets hope for.

    Of the whole way: vision tower, text model and policy. pictures: what is shown, over and over.
    tick_seconds: between two frames as the stream counts time, however fast they come.
    """
    coming = _endless(pictures, session.stats.time_seconds, tick_seconds)
    began = time.perf_counter()
    session.watch(list(islice(coming, session.chunk_frames)))
    low, high = 0.0, 2 * session.chunk_frames / (time.perf_counter() - began)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if _keeps_up(session, coming, middle):
            low = middle
        else:
            high = middle
    return round(low, 2)


def _endless(pictures: Sequence[NDArray[np.uint8]], start_seconds: float, tick_seconds: float) -> Iterator[Frame]:
    """A frame for each time: what was encoded before would be known again by its frame."""
    for index, picture in enumerate(cycle(pictures), start=1):
        yield Frame(start_seconds + index * tick_seconds, picture)


def _keeps_up(session: Session, coming: Iterator[Frame], fps: float) -> bool:
    """Whether none of some seconds' frames, and of a few intervals', is dropped."""
    before, start = session.stats.frames_dropped, time.perf_counter()
    n_frames = int(max(_SUSTAIN_SECONDS * fps, _SUSTAIN_INTERVALS * session.chunk_frames))
    for index in range(n_frames):
        time.sleep(max(0.0, start + index / fps - time.perf_counter()))
        session.offer(next(coming))
        if session.stats.frames_dropped > before:
            break
    while session.stats.waiting_frames:
        time.sleep(_LOOK_SECONDS)
    return session.stats.frames_dropped == before
