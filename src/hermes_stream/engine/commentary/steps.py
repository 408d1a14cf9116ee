"""A video cut into steps of equal length, by its own times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from hermes_stream.errors import UsageError
from hermes_stream.types import Frame

# Times are floats: what is meant to be a whole number of steps must not be floored to the one below.
TIME_SLACK = 1e-6


def step_of(seconds: float, step_seconds: float) -> int:
    """The number of the step in which a frame of then is shown."""
    return math.floor(seconds / step_seconds + TIME_SLACK)


def in_steps(frames: Iterable[Frame], step_seconds: float) -> Iterator[tuple[int, list[Frame]]]:
    """Frames by the number of their step, in order; steps without any are left out. Raises UsageError if times fall."""
    step: int | None = None
    shown: list[Frame] = []
    for frame in frames:
        if shown and frame.pts_seconds < shown[-1].pts_seconds:
            raise UsageError(
                f"a frame at {frame.pts_seconds:.3f} s came after one at {shown[-1].pts_seconds:.3f} s; times must not "
                "fall"
            )
        now = step_of(frame.pts_seconds, step_seconds)
        if step is not None and now != step:
            yield step, shown
            shown = []
        step = now
        shown.append(frame)
    if step is not None:
        yield step, shown
