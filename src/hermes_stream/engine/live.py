"""Frames that are offered as they come: those that nobody takes in time give way to newer ones, and are counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from hermes_stream.engine.gaps import seconds_inside
from hermes_stream.errors import ConfigError, UsageError
from hermes_stream.types import Frame, Gap


class LiveQueue:
    """What was offered to one stream and not taken yet: at most `capacity` frames, the newest ones.

    Somebody must take them as long as `is_taken` says so: `offer` tells when that begins, `is_empty` when it ends.
    Safe to use from several threads.
    """

    def __init__(self, capacity: int) -> None:
        """Raises ConfigError if no frame may wait."""
        if capacity < 1:
            raise ConfigError(f"max_waiting_frames is {capacity}; at least 1 frame must be able to wait")
        self.capacity = capacity
        self.n_dropped = 0
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._n_on_their_way = 0
        self._is_taken = False
        self._error: BaseException | None = None
        self._first_seconds: float | None = None
        self._newest_seconds: float | None = None

    def offer(self, frames: Sequence[Frame]) -> tuple[int, bool]:
        """Queue frames and drop the oldest that are too many. Returns how many of these wait, and whether somebody must
        begin to take them.

        Raises UsageError, with nothing queued, if times fall; and what ended the taking since the last call, once.
        """
        with self._lock:
            error, self._error = self._error, None
            if error is not None:
                raise error
            self._check_times(frames)
            self._frames.extend(frames)
            n_excess = max(len(self._frames) - self.capacity, 0)
            for _ in range(n_excess):
                self._frames.popleft()
            self.n_dropped += n_excess
            must_begin = bool(self._frames) and not self._is_taken
            self._is_taken = self._is_taken or must_begin
            return min(len(frames), self.capacity), must_begin

    def take(self, n: int) -> list[Frame]:
        """The oldest frames, at most so many; from now on they are on their way into the memory and not dropped."""
        with self._lock:
            taken = [self._frames.popleft() for _ in range(min(n, len(self._frames)))]
            self._n_on_their_way += len(taken)
            return taken

    def arrive(self, n: int) -> None:
        """So many of the frames that were taken are in the memory, or were given up."""
        with self._lock:
            self._n_on_their_way -= n

    def give_up(self, start_seconds: float, end_seconds: float) -> int:
        """Drop the frames of some time that wait; returns how many they were."""
        with self._lock:
            n_before = len(self._frames)
            stay = [frame for frame in self._frames if not start_seconds <= frame.pts_seconds < end_seconds]
            self._frames = deque(stay)
            self.n_dropped += n_before - len(stay)
            return n_before - len(stay)

    def lose(self, n: int) -> None:
        """So many of the frames that were taken will not come in."""
        with self._lock:
            self._n_on_their_way -= n
            self.n_dropped += n

    def is_empty(self) -> bool:
        """Whether nothing waits any more; if so, nobody need take until `offer` says so."""
        with self._lock:
            self._is_taken = bool(self._frames)
            return not self._is_taken

    def end(self, done: Future[None]) -> None:
        """Called when taking ends. Nobody waits for frames that were offered: what went wrong is told with the next."""
        error = done.exception()
        if error is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Nobody takes any more; what was on its way is dropped, and the next one to offer is told why."""
        with self._lock:
            self._is_taken, self._error = False, error
            self.n_dropped += self._n_on_their_way
            self._n_on_their_way = 0

    @property
    def n_waiting(self) -> int:
        """Frames that were offered and are neither in the memory nor dropped."""
        with self._lock:
            return len(self._frames) + self._n_on_their_way

    @property
    def newest_seconds(self) -> float | None:
        """Time of the newest frame that was offered; None before the first."""
        with self._lock:
            return self._newest_seconds

    def lag_seconds(self, committed_seconds: float | None, gaps: Sequence[Gap] = ()) -> float:
        """How far the memory, whose newest frame is from then, is behind what was offered; 0 where nothing was.

        Times in which nothing was seen do not count.
        """
        with self._lock:
            since, newest = (
                self._first_seconds if committed_seconds is None else committed_seconds,
                self._newest_seconds,
            )
        if newest is None or since is None:
            return 0.0
        return max(newest - since - seconds_inside(gaps, since, newest), 0.0)

    def _check_times(self, frames: Sequence[Frame]) -> None:
        last = self._newest_seconds
        for frame in frames:
            if last is not None and frame.pts_seconds < last:
                raise UsageError(
                    f"a frame at {frame.pts_seconds:.3f} s was offered after one at {last:.3f} s; times must not fall"
                )
            last = frame.pts_seconds
        self._newest_seconds = last
        if self._first_seconds is None and frames:
            self._first_seconds = frames[0].pts_seconds
