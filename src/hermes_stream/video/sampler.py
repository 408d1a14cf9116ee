"""Which pictures are looked at: the nearest one to each tick of a clock, by presentation time and never by index."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from hermes_stream.errors import ConfigError

# Times are sums of rounded floats; a tick this near to a boundary (in tick lengths) counts as being on it.
_TICK_TOLERANCE = 1e-6


class Timed(Protocol):
    """Anything with a presentation time in seconds."""

    @property
    def pts_seconds(self) -> float:
        """Presentation time in seconds since the start of the source."""
        ...


TimedT = TypeVar("TimedT", bound=Timed)


def sample_by_time(frames: Iterable[TimedT], fps: float | None, *, start_seconds: float = 0.0) -> Iterator[TimedT]:
    """Keep the frames that are nearest to the ticks 0, 1/fps, 2/fps, ...

    frames: in time order. fps: ticks per second; None or 0 keeps every frame. start_seconds: of the first tick; frames
        before it are not to be given.
    A frame that is nearest to several ticks is given once, so a picture shown for ten seconds is one frame, not ten;
    of two frames equally near, the earlier one is taken. After the last frame the stream counts as going on for as
    long as the gap before it. The ticks are absolute, so nothing drifts.
    Guarantees: passive, holds at most one frame, which is given as soon as no later frame could be nearer; a frame
    with a tick at or just before its time is given at once.
    Raises ConfigError if fps is negative or not finite.
    """
    if fps is None or fps == 0:
        return iter(frames)
    if not math.isfinite(fps) or fps < 0:
        raise ConfigError(f"fps is {fps}; give a positive number, or 0 for every frame")
    return _nearest_to_ticks(frames, fps, start_seconds)


def _nearest_to_ticks(frames: Iterable[TimedT], fps: float, start_seconds: float) -> Iterator[TimedT]:
    """Ticks up to `last_tick` are answered; `waiting` may still be the nearest one to a tick behind it."""
    last_tick = -1
    waiting: TimedT | None = None
    seconds = gap_seconds = 0.0
    is_first = True
    for frame in frames:
        if not is_first:
            gap_seconds = frame.pts_seconds - seconds
            tick = _tick_at(seconds + gap_seconds / 2 - start_seconds, fps)
            if waiting is not None and tick > last_tick:
                yield waiting
            last_tick = max(last_tick, tick)
        is_first, seconds = False, frame.pts_seconds
        tick = _tick_at(seconds - start_seconds, fps)
        # A tick not after this frame is nearer to it than to any later one: no need to look ahead.
        waiting = None if tick > last_tick else frame
        if waiting is None:
            last_tick = tick
            yield frame
    if waiting is not None and _tick_at(seconds + gap_seconds / 2 - start_seconds, fps) > last_tick:
        yield waiting


def _tick_at(seconds: float, fps: float) -> int:
    """The last tick at or before a time."""
    return math.floor(seconds * fps + _TICK_TOLERANCE)
