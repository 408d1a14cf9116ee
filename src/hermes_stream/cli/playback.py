"""A video into a session at the pace of its own clock, with questions at their moments."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermes_stream.engine.session import Session
    from hermes_stream.engine.timeline import TimedQuestion
    from hermes_stream.types import Frame, Query
    from hermes_stream.video import Video

_RATE_WINDOW_SECONDS = 10.0


class RateMeter:
    """Events per second over the last ten seconds, or over the last two events where they are rarer."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def count(self, n: int, now: float) -> None:
        """n events at a moment, in seconds of any clock."""
        self._moments.extend([now] * n)
        while len(self._moments) > 2 and now - self._moments[0] > _RATE_WINDOW_SECONDS:
            self._moments.popleft()

    @property
    def per_second(self) -> float | None:
        moments = tuple(self._moments)
        if len(moments) < 2 or moments[-1] <= moments[0]:
            return None
        return (len(moments) - 1) / (moments[-1] - moments[0])


class Playback:
    """Takes frames from a video, waits until they are due and puts them into a session, on a thread of its own.

    Every question sees the frames up to and including its time, and none after; those behind the end are asked there.
    Files: nothing is dropped; where the session cannot keep up, the frames that are due go in together. `error` is what
    stopped it, None at an ordinary end; a connection that breaks off is an error, a local file cut short is damage.
    frames: the video's, by way of somebody who looks at them; by default the video itself.
    """

    def __init__(
        self,
        session: Session,
        video: Video,
        fps: float,
        questions: Sequence[TimedQuestion[None]],
        *,
        ask: Callable[[Query], None],
        on_end: Callable[[], None],
        frames: Iterable[Frame] | None = None,
    ) -> None:
        from hermes_stream.video.pace import Pace

        self.error: Exception | None = None
        self.is_ended = False
        self.rate = RateMeter()
        self._session = session
        self._video = video
        self._frames = video if frames is None else frames
        self._interval_seconds = 1 / fps
        self._waiting = deque(sorted(questions, key=lambda question: question.time_seconds))
        self._ask = ask
        self._on_end = on_end
        self._is_live = video.info.is_live
        self._is_remote = self._is_live or "://" in video.info.url
        self._pace = Pace(is_live=self._is_live)
        self._batch: list[Frame] = []
        # Moment of the frame that is on its way into the memory, None while there is none.
        self._entering_seconds: float | None = None
        self._lag_seconds = 0.0
        self._entered_at = time.monotonic()
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="hermes-playback", daemon=True).start()

    def stop(self) -> None:
        """End soon, with no further frame and no further question."""
        self._stopped.set()

    @property
    def n_unasked(self) -> int:
        """Questions whose moment has not come."""
        return len(self._waiting)

    @property
    def lag_seconds(self) -> float:
        """How late the newest frame came into the memory, or by now is for it; 0 at the end."""
        if self.is_ended:
            return 0.0
        entering_seconds = self._entering_seconds
        if entering_seconds is None:
            return self._lag_seconds
        return max(self._lag_seconds, self._pace.lag_seconds(entering_seconds))

    @property
    def silent_seconds(self) -> float:
        """How long a live source has brought nothing."""
        is_waiting = self._is_live and self._entering_seconds is None and not self.is_ended
        return time.monotonic() - self._entered_at if is_waiting else 0.0

    def _run(self) -> None:
        try:
            self._play()
            if self._is_remote and self._video.damage.ended_early and not self._stopped.is_set():
                self.error = ConnectionError(self._video.damage.end_reason)
        except Exception as error:  # whatever it is, the session can still be asked
            self.error = error
        try:
            if not self._stopped.is_set():
                self._ask_until(math.inf)
        except Exception as error:
            self.error = self.error or error
        self.is_ended = True
        self._on_end()

    def _play(self) -> None:
        try:
            for frame in self._frames:
                self._pace.arrive(frame.pts_seconds)
                if self._pace.wait_seconds(frame.pts_seconds) > 0:
                    self._enter()
                self._ask_until(frame.pts_seconds)
                self._wait_until(frame.pts_seconds)
                if self._stopped.is_set():
                    return
                self._batch.append(frame)
                if not self._is_behind(frame) or len(self._batch) == self._session.chunk_frames:
                    self._enter()
        finally:
            # Also behind a failure of the video: what came before it is not lost.
            self._enter()

    def _is_behind(self, frame: Frame) -> bool:
        """Whether the next frame of a file is due as well, so that this one may wait for it."""
        return not self._is_live and self._pace.lag_seconds(frame.pts_seconds) > self._interval_seconds

    def _enter(self) -> None:
        """Put the frames that are due into the memory."""
        batch, self._batch = self._batch, []
        if not batch or self._stopped.is_set():
            return
        self._entering_seconds = batch[0].pts_seconds
        try:
            self._session.watch(batch)
            self._lag_seconds = self._pace.lag_seconds(batch[-1].pts_seconds)
        finally:
            self._entering_seconds = None
            self._entered_at = time.monotonic()
        self.rate.count(len(batch), self._entered_at)

    def _ask_until(self, pts_seconds: float) -> None:
        """Ask what comes before a frame at this time, each question at its moment."""
        while self._waiting and (self._waiting[0].time_seconds < pts_seconds or pts_seconds == math.inf):
            self._enter()
            if pts_seconds < math.inf:
                self._wait_until(self._waiting[0].time_seconds)
            if self._stopped.is_set():
                return
            self._ask(self._waiting.popleft().query)

    def _wait_until(self, pts_seconds: float) -> None:
        self._stopped.wait(self._pace.wait_seconds(pts_seconds))
