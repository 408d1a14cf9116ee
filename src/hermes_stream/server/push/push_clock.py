"""Where the frames of a client stand in the time of a session, and which of them are looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hermes_stream.errors import UsageError

# Three years. Seconds since 1970, and what an uninitialised clock says, are beyond it.
_MOST_SECONDS = 1e8
# One time this far ahead would have every later one refused as falling.
_LONGEST_JUMP_SECONDS = 86_400.0
# Times are sums of rounded floats; a tick this near to a frame (in tick lengths) counts as being at it.
_TICK_TOLERANCE = 1e-6
_RESUME = 'send session.config with "resume": true, and times count from where the session stands'


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame that is to be looked at. tick: the last one at or before it. is_resumed: nothing was seen before it."""

    seconds: float
    tick: int
    is_resumed: bool = False


class PushClock:
    """Gives each frame of one client its time, and chooses the first one at or after each tick of `fps`.

    Nothing is delayed for it: whether a frame is chosen is known when it comes, before it is decoded.
    """

    def __init__(self, fps: float, newest_seconds: float | None, *, n_ahead: int = 0) -> None:
        """newest_seconds: of the session when the client begins; None for one that has seen nothing.

        n_ahead: a client that gives no times and sends faster than the clock goes may be so many frames ahead of it,
        each a tick after the one before. 0: what comes in the same tick is not looked at.
        """
        self._fps, self._n_ahead = fps, n_ahead
        self._newest_seconds = newest_seconds
        self._tick = -math.inf if newest_seconds is None else self._tick_at(newest_seconds)
        self._has_begun = False
        self._offset_seconds = 0.0
        self._must_resume = False

    def resume(self) -> None:
        """The next frame stands where the session stands, whatever its time; those after it follow by theirs."""
        self._must_resume = True

    def place(self, time_seconds: float | None, now_seconds: float) -> Placed | None:
        """A frame that comes now; None for one that is not looked at.

        time_seconds: as the client gives it; None: it comes as it is seen. now_seconds: of the session.
        Raises UsageError for a time that cannot be, which changes nothing.
        """
        if time_seconds is None:
            seconds = self._arrival(now_seconds)
        else:
            _check_finite(time_seconds)
            offset_seconds = self._start(now_seconds) - time_seconds if self._must_resume else self._offset_seconds
            seconds = time_seconds + offset_seconds
            self._check(seconds, now_seconds)
            self._offset_seconds = offset_seconds
        is_resumed, self._must_resume, self._has_begun = self._must_resume, False, True
        self._newest_seconds = seconds
        tick = self._tick_at(seconds)
        if tick <= self._tick:
            return None
        self._tick = tick
        return Placed(seconds, tick, is_resumed)

    def give_back(self, placed: Placed) -> None:
        """The frame was none: the next one in its tick takes its place."""
        if self._tick == placed.tick:
            self._tick -= 1

    def _start(self, now_seconds: float) -> float:
        """Where a client takes up a session: now, and a tick after what is there."""
        newest = self._newest_seconds
        return now_seconds if newest is None else max(now_seconds, newest + 1 / self._fps)

    def _arrival(self, now_seconds: float) -> float:
        newest = self._newest_seconds
        if newest is None or now_seconds >= newest + 1 / self._fps:
            return now_seconds
        following = newest + 1 / self._fps
        if following - now_seconds > self._n_ahead / self._fps:
            return max(now_seconds, newest)
        return following

    def _check(self, seconds: float, now_seconds: float) -> None:
        if not 0 <= seconds <= _MOST_SECONDS:
            raise UsageError(
                f"a frame's time is {seconds:g} s; expected seconds since the stream began, up to {_MOST_SECONDS:g}; "
                f"for any other clock {_RESUME}"
            )
        newest = self._newest_seconds
        if newest is None:
            return
        if seconds < newest:
            how = "times must not fall" if self._has_begun else f"send times from there on, or {_RESUME}"
            raise UsageError(f"a frame at {seconds:.3f} s comes when the session stands at {newest:.3f} s; {how}")
        if seconds > max(newest, now_seconds) + _LONGEST_JUMP_SECONDS:
            raise UsageError(
                f"a frame at {seconds:.3f} s comes more than a day after {newest:.3f} s; if that is right, {_RESUME}"
            )

    def _tick_at(self, seconds: float) -> int:
        return math.floor(seconds * self._fps + _TICK_TOLERANCE)


def _check_finite(time_seconds: float) -> None:
    if not math.isfinite(time_seconds):
        raise UsageError(f"a frame's time is {time_seconds}; expected seconds since the stream began")
