"""When the frames of a video are due."""

from __future__ import annotations

import math
import time


class Pace:
    """A clock that starts at the first frame.

    A live source brings its frames when it likes, some late: there the frame that came earliest for its time stamp sets
    the clock, and nobody waits.
    """

    def __init__(self, *, is_live: bool, speed: float = 1.0) -> None:
        """speed: seconds of video in a second; 0 waits for nothing."""
        self._is_live, self._speed = is_live, speed
        self._origin = math.inf

    def arrive(self, pts_seconds: float) -> None:
        """A frame is at hand."""
        if self._speed and (self._is_live or self._origin == math.inf):
            self._origin = min(self._origin, time.monotonic() - pts_seconds / self._speed)

    def wait_seconds(self, pts_seconds: float) -> float:
        """How long until this moment of the video; 0 if it has passed, or for live sources."""
        return 0.0 if self._is_live else max(0.0, -self.lag_seconds(pts_seconds))

    def lag_seconds(self, pts_seconds: float) -> float:
        """How far this moment of the video lies behind the clock; negative if it is still to come."""
        if not self._speed:
            return math.inf
        return time.monotonic() - self._origin - pts_seconds / self._speed
