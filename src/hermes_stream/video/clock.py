"""From the time stamps that a container holds to seconds that only move forward.

Files and streams lie about time: stamps are missing (raw H.264), are those of decoding order (H.264 in AVI), jump for
one picture because a byte was damaged, or start anew (a camera that reboots, an advertisement in HLS).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

PictureT = TypeVar("PictureT")

# A step further than this may be a damaged stamp: the next picture decides. Slides and pauses pass this test.
_DOUBTFUL_FORWARD_SECONDS = 10
# B-pictures out of order go back by fractions of a second; further back is a restarted clock or a damaged stamp.
_DOUBTFUL_BACKWARD_SECONDS = 5
# Share of presentation stamps going backwards above which decoding stamps are believed instead.
_FAULTY_SHARE = 0.1


class StampChooser:
    """Believes presentation stamps, if any, until too many of them go backwards while the decoding stamps do not."""

    def __init__(self) -> None:
        self._n_seen = self._n_faulty_pts = self._n_faulty_dts = 0
        self._last_pts: int | None = None
        self._last_dts: int | None = None

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The stamp to use, in units of the stream's time base; None if there is none to be trusted."""
        self._n_seen += 1
        self._n_faulty_pts += _goes_back(self._last_pts, pts)
        self._n_faulty_dts += _goes_back(self._last_dts, dts)
        self._last_pts = self._last_pts if pts is None else pts
        self._last_dts = self._last_dts if dts is None else dts
        return dts if self._is_decoding_order() else pts

    def _is_decoding_order(self) -> bool:
        if self._last_pts is None:
            return True
        return self._last_dts is not None and self._n_faulty_pts > self._n_faulty_dts + _FAULTY_SHARE * self._n_seen


def _goes_back(last: int | None, stamp: int | None) -> bool:
    return last is not None and stamp is not None and stamp <= last


@dataclass(frozen=True, slots=True)
class _Held(Generic[PictureT]):
    """A picture whose time is in doubt."""

    picture: PictureT
    seconds: Fraction
    interval_seconds: Fraction


class PresentationClock(Generic[PictureT]):
    """Gives pictures their seconds since the first one, strictly increasing; drops and counts those that go back.

    Exact fractions inside; the caller converts to float once.
    """

    def __init__(self) -> None:
        self.n_dropped = 0
        self.n_resets = 0
        self._origin_seconds: Fraction | None = None
        self._last_seconds: Fraction | None = None
        self._last_interval_seconds = Fraction(0)
        self._held: _Held[PictureT] | None = None

    @property
    def origin_seconds(self) -> Fraction:
        """The first picture's stamp on the stream's own clock; 0 while unknown."""
        return self._origin_seconds or Fraction(0)

    @property
    def knows_origin(self) -> bool:
        """Whether a picture with a stamp has been placed."""
        return self._origin_seconds is not None

    @property
    def end_seconds(self) -> Fraction:
        """When the last placed picture has been shown for its interval; 0 before the first."""
        return Fraction(0) if self._last_seconds is None else self._last_seconds + self._last_interval_seconds

    def has_placed(self, stamp_seconds: Fraction | None) -> bool:
        """Whether a picture with this stamp, or a later one, has been placed: reading began anew before it."""
        seconds = self._on_our_clock(stamp_seconds)
        return seconds is not None and self._last_seconds is not None and seconds <= self._last_seconds

    def place(
        self, picture: PictureT, stamp_seconds: Fraction | None, interval_seconds: Fraction
    ) -> list[tuple[PictureT, Fraction]]:
        """The pictures whose time is now certain: none, this one, or a doubtful one before it too.

        stamp_seconds: on the stream's own clock; None puts the picture `interval_seconds` behind the last one.
        """
        settled = self._settle_held(self._on_our_clock(stamp_seconds))
        # Settling may have moved the origin, so the time is computed again.
        seconds = self._on_our_clock(stamp_seconds)
        if seconds is None:
            seconds = self._next_seconds(interval_seconds)
        if self._is_doubtful(seconds):
            self._held = _Held(picture, seconds, interval_seconds)
            return settled
        if self._last_seconds is not None and seconds <= self._last_seconds:
            self.n_dropped += 1
            return settled
        if self._origin_seconds is None and stamp_seconds is not None:
            self._origin_seconds = stamp_seconds - seconds
        self._last_seconds, self._last_interval_seconds = seconds, interval_seconds
        return [*settled, (picture, seconds)]

    def flush(self) -> list[tuple[PictureT, Fraction]]:
        """At the end of the stream: a picture still in doubt is believed."""
        return self._accept_held()

    def _on_our_clock(self, stamp_seconds: Fraction | None) -> Fraction | None:
        if stamp_seconds is None or self._origin_seconds is None:
            return None
        return stamp_seconds - self._origin_seconds

    def _next_seconds(self, interval_seconds: Fraction) -> Fraction:
        return Fraction(0) if self._last_seconds is None else self._last_seconds + interval_seconds

    def _is_doubtful(self, seconds: Fraction) -> bool:
        if self._last_seconds is None:
            return False
        step_seconds = seconds - self._last_seconds
        return step_seconds > _DOUBTFUL_FORWARD_SECONDS or step_seconds < -_DOUBTFUL_BACKWARD_SECONDS

    def _settle_held(self, seconds: Fraction | None) -> list[tuple[PictureT, Fraction]]:
        """Time really jumped if the next picture is nearer to the doubtful one than to the last good one."""
        if self._held is None or self._last_seconds is None:
            return []
        if seconds is None or abs(seconds - self._held.seconds) < abs(seconds - self._last_seconds):
            return self._accept_held()
        self._held = None
        self.n_dropped += 1
        return []

    def _accept_held(self) -> list[tuple[PictureT, Fraction]]:
        held, self._held = self._held, None
        if held is None:
            return []
        seconds = held.seconds
        if self._last_seconds is not None and seconds <= self._last_seconds:
            self.n_resets += 1
            seconds = self._last_seconds + held.interval_seconds
            if self._origin_seconds is not None:
                self._origin_seconds += held.seconds - seconds
        self._last_seconds, self._last_interval_seconds = seconds, held.interval_seconds
        return [(held.picture, seconds)]
