"""Frames of one client on their way into a session: placed in time, chosen, decoded on a thread, handed over."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from hermes_stream.engine.session import SessionStats
from hermes_stream.errors import HermesError, SessionClosed, UsageError
from hermes_stream.server.live_session import LiveSession, State
from hermes_stream.server.problems import problem_of
from hermes_stream.server.push.images import PictureError, PictureFormat
from hermes_stream.server.push.push_clock import Placed, PushClock

_log = logging.getLogger(__name__)

# Encoded pictures that wait to be decoded: the engine has a queue of its own for those that are.
_MOST_WAITING = 4
# Without times: how many frames a client may be ahead of the clock. vLLM-Omni's own sends up to 64 at once.
_N_AHEAD = 64
_MOST_PATIENT_BYTES = 32 * 2**20
# A client that takes up a stream again; shorter holes are its frames' distance.
_HOLE_INTERVALS = 3
_SILENT_SECONDS = 10.0
_POLL_SECONDS = 0.02
_REPORT_SECONDS = 0.25

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """time_seconds: as the client gave it."""

    data: bytes | str
    time_seconds: float | None
    placed: Placed
    form: PictureFormat


class PushFeed:
    """The feed of a session as long as a client pushes; used on the server's loop.

    Frames that nobody has time to decode give way to newer ones, are counted and reported. A patient feed is one of a
    client that gives no times: such frames are not late, and the client waits instead.
    """

    def __init__(self, live: LiveSession, threads: Executor, tell: Tell, *, is_patient: bool) -> None:
        """tell: what the client should hear. Raises ApiError where the session has a feed."""
        live.begin_feed("push")
        self._live, self._threads, self._tell, self._is_patient = live, threads, tell, is_patient
        self._clock = PushClock(live.fps, live.newest_seconds, n_ahead=_N_AHEAD if is_patient else 0)
        self._waiting: deque[_Waiting] = deque()
        self._n_chosen = self._n_over = 0
        self._drops = _Drops(live, tell)
        self._is_first = True
        self._is_ending = self._is_left = self._is_ended = False
        self._changed = asyncio.Event()
        self._begun_at = self._arrived_at = _now()
        self._begin_seconds = live.now_seconds()
        self._worker = asyncio.create_task(self._work())

    def resume(self) -> None:
        """The next frame stands where the session stands now."""
        self._clock.resume()

    async def give(self, data: bytes | str, time_seconds: float | None, form: PictureFormat) -> None:
        """A frame that arrives now. data: as text, it is base64."""
        self._arrived_at = _now()
        # Frames without times may be ahead of this clock, so it must not follow them as the session's does.
        seen_at = self._begin_seconds + self._arrived_at - self._begun_at
        try:
            placed = self._clock.place(time_seconds, seen_at if time_seconds is None else self._live.now_seconds())
        except UsageError as error:
            self._refuse(time_seconds, error)
            return
        if placed is None:
            return
        if self._is_patient and time_seconds is None:
            await self._until(lambda: not self._is_full() or self._is_ending)
        elif len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._n_over += 1
            self._live.drop(1)
            self._drops.add(1)
        self._waiting.append(_Waiting(data, time_seconds, placed, form))
        self._n_chosen += 1
        self._changed.set()

    def _is_full(self) -> bool:
        """Whether a client that can wait must. Before that nothing stands in the way of its pings."""
        n_bytes = sum(len(waiting.data) for waiting in self._waiting)
        return len(self._waiting) >= _N_AHEAD or n_bytes >= _MOST_PATIENT_BYTES

    async def all_in(self) -> None:
        """Wait until what came before this is in the memory, or never will be."""
        n_chosen = self._n_chosen
        await self._until(lambda: self._n_over >= n_chosen or self._is_ended)
        newest = self._live.newest_seconds or 0.0
        await self._until_engine(
            lambda stats: stats.waiting_frames == 0 or (stats.frames_seen and stats.time_seconds >= newest)
        )

    async def finish(self, reason: str) -> None:
        """No more frames: returns once all are in, and the stream has ended."""
        self._is_ending = True
        self._changed.set()
        await asyncio.shield(self._worker)
        await self._until_engine(lambda stats: stats.waiting_frames == 0)
        self._end("ended", reason)

    async def leave(self, reason: str) -> None:
        """The client is gone: what waits is given up."""
        self._live.drop(len(self._waiting))
        self._waiting.clear()
        self._is_ending = self._is_left = True
        self._changed.set()
        # What a thread decodes just now comes in before somebody else may push.
        await asyncio.shield(self._worker)
        self._end("gap", reason)

    def _end(self, state: State, reason: str) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._changed.set()
        self._drops.report()
        self._live.end_feed(state, reason)

    async def _work(self) -> None:
        while (waiting := await self._next()) is not None:
            await self._take(waiting)
            self._n_over += 1
            self._changed.set()
            if self._is_patient and waiting.time_seconds is None:
                await self._until_engine(self._has_room)

    def _has_room(self, stats: SessionStats) -> bool:
        return self._is_left or stats.waiting_frames < self._live.session.max_waiting_frames // 2

    async def _next(self) -> _Waiting | None:
        """The oldest frame that waits; None after the last one."""
        while not self._waiting and not self._is_ending:
            try:
                async with asyncio.timeout(_SILENT_SECONDS):
                    await self._until(lambda: self._waiting or self._is_ending)
            except TimeoutError:
                if _now() - self._arrived_at >= _SILENT_SECONDS:
                    self._live.pause("the client sends no frames")
        if not self._waiting:
            return None
        waiting = self._waiting.popleft()
        self._changed.set()
        return waiting

    async def _take(self, waiting: _Waiting) -> None:
        loop = asyncio.get_running_loop()
        try:
            earlier = await loop.run_in_executor(self._threads, self._bring_in, waiting)
        except PictureError as error:
            self._clock.give_back(waiting.placed)
            self._refuse(waiting.placed.seconds if waiting.time_seconds is None else waiting.time_seconds, error)
        except Exception as error:  # whatever it is, the frames after it may be better
            self._fail(error)
        else:
            if earlier is not None:
                self._fail(earlier)
        self._drops.look()

    def _bring_in(self, waiting: _Waiting) -> HermesError | None:
        """On a thread. Returns what went wrong with frames of before, which is heard with this one."""
        frame = waiting.form.to_frame(waiting.data, waiting.placed.seconds)
        self._take_up(waiting.placed)
        try:
            self._live.take([frame])
        except HermesError as error:
            self._live.take([frame])
            return error
        return None

    def _take_up(self, placed: Placed) -> None:
        """State what was not seen before the first frame, and before one that comes after a silence."""
        newest = self._live.newest_seconds
        is_first, self._is_first = self._is_first, False
        has_hole = is_first and newest is not None and placed.seconds - newest > _HOLE_INTERVALS / self._live.fps
        if has_hole or placed.is_resumed or self._live.state == "gap":
            self._live.resume(placed.seconds, "no client was pushing" if is_first else "the client sent no frames")

    def _refuse(self, time_seconds: float | None, error: UsageError) -> None:
        self._live.frames_refused += 1
        self._tell({"type": "frame.refused", "time_s": _finite(time_seconds), "message": str(error)})

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, HermesError):
            _log.error("a frame: %s", error, exc_info=error, extra={"session": self._live.name})
        # That a session is closed is heard by everybody who listens to it.
        if not isinstance(error, SessionClosed):
            self._tell(problem_of(error).event())

    async def _until_engine(self, is_so: Callable[[SessionStats], object]) -> None:
        """Nobody tells when the engine has taken a frame in: it is looked at."""
        session = self._live.session
        while not session.is_closed and not self._is_ended and not is_so(session.stats):
            await asyncio.sleep(_POLL_SECONDS)

    async def _until(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()


class _Drops:
    """Counts frames that were dropped, and says so a few times a second at most."""

    def __init__(self, live: LiveSession, tell: Tell) -> None:
        self._live, self._tell = live, tell
        self._n_in_engine = live.session.stats.frames_dropped
        self._n_new = self._n_total = 0
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Count what the engine dropped since the last look."""
        n_in_engine = self._live.session.stats.frames_dropped
        n, self._n_in_engine = n_in_engine - self._n_in_engine, n_in_engine
        if n > 0:
            self.add(n)

    def add(self, n: int) -> None:
        self._n_new += n
        self._n_total += n
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_REPORT_SECONDS, self.report)

    def report(self) -> None:
        """Say how many they are since the last time, if any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._n_new:
            self._tell({"type": "frame.dropped", "n": self._n_new, "total": self._n_total})
            self._n_new = 0


def _now() -> float:
    return asyncio.get_running_loop().time()


def _finite(time_seconds: float | None) -> float | None:
    """JSON has no others."""
    return time_seconds if time_seconds is None or abs(time_seconds) < float("inf") else None
