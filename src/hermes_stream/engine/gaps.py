"""Times of which a stream knows that it saw nothing: what they say about the frames around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from hermes_stream.errors import UsageError
from hermes_stream.types import Frame, Gap

MOST_GAPS = 1000
_TOGETHER = "the oldest gaps, taken together"


def with_gap(gaps: Sequence[Gap], gap: Gap) -> tuple[Gap, ...]:
    """Gaps in time order with one more; beyond `MOST_GAPS` the oldest two are taken for one."""
    after = (*gaps, gap)
    if len(after) <= MOST_GAPS:
        return after
    return (Gap(after[0].start_seconds, after[1].end_seconds, _TOGETHER), *after[2:])


def check_gap(gaps: Sequence[Gap], gap: Gap, newest_seconds: float | None) -> None:
    """Raise UsageError for a gap that begins before another ended, or before the newest frame, if there is one."""
    if newest_seconds is not None and gap.start_seconds < newest_seconds:
        raise UsageError(
            f"a gap from {gap.start_seconds:.3f} s on, but a frame of {newest_seconds:.3f} s was given; begin it there"
        )
    if gaps and gap.start_seconds < gaps[-1].end_seconds:
        raise UsageError(
            f"a gap from {gap.start_seconds:.3f} s on, but the one before lasts until {gaps[-1].end_seconds:.3f} s; "
            "begin it there"
        )


def check_behind(gaps: Sequence[Gap], frames: Iterable[Frame]) -> None:
    """Raise UsageError if frames that are given now are older than the end of a gap that was marked before."""
    for frame in frames if gaps else ():
        if frame.pts_seconds < gaps[-1].end_seconds:
            raise _refusal(frame, gaps[-1])


def check_outside(gaps: Sequence[Gap], frames: Iterable[Frame], since_seconds: float) -> None:
    """Raise UsageError if a frame lies inside one of the gaps that end after `since_seconds`.

    Frames that were given before a gap was marked may come in after it.
    """
    later = list(_newest_first(gaps, since_seconds))
    for frame in frames if later else ():
        for gap in later:
            if gap.start_seconds < frame.pts_seconds < gap.end_seconds:
                raise _refusal(frame, gap)


def n_before_gap(gaps: Sequence[Gap], frames: Sequence[Frame]) -> int:
    """How many of some frames come before the first gap between two of them; all of them if there is none."""
    later = list(_newest_first(gaps, frames[0].pts_seconds)) if frames else []
    for index, (one, other) in enumerate(pairwise(frames), start=1):
        if any(one.pts_seconds <= gap.start_seconds and gap.end_seconds <= other.pts_seconds for gap in later):
            return index
    return len(frames)


def gaps_until(gaps: Sequence[Gap], seconds: float) -> tuple[Gap, ...]:
    """What was known of them at a time, at which one may have lasted."""
    return tuple(replace(gap, end_seconds=min(gap.end_seconds, seconds)) for gap in gaps if gap.start_seconds < seconds)


def seconds_inside(gaps: Sequence[Gap], start_seconds: float, end_seconds: float) -> float:
    """How much of the time from start to end the gaps take."""
    parts = (
        min(gap.end_seconds, end_seconds) - max(gap.start_seconds, start_seconds)
        for gap in _newest_first(gaps, start_seconds)
    )
    return sum(max(part, 0.0) for part in parts)


def _newest_first(gaps: Sequence[Gap], since_seconds: float) -> Iterator[Gap]:
    """Those that end after a time."""
    for gap in reversed(gaps):
        if gap.end_seconds <= since_seconds:
            return
        yield gap


def _refusal(frame: Frame, gap: Gap) -> UsageError:
    return UsageError(
        f"a frame at {frame.pts_seconds:.3f} s, but nothing was seen from {gap.start_seconds:.3f} s to "
        f"{gap.end_seconds:.3f} s ({gap.reason}); times must not fall"
    )
