"""Sampling by time from the definition, with exact fractions and a search over all frames for every tick."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def nearest_to_ticks(times_seconds: Sequence[Fraction], fps: Fraction) -> list[int]:
    """Indices of the frames that are nearest to a tick k/fps with k >= 0, each once; the earlier of two equally near.

    times_seconds: strictly increasing. The stream ends where a further frame, after one more gap like the last one,
    would be nearer.
    """
    if not times_seconds:
        return []
    gap_seconds = times_seconds[-1] - times_seconds[-2] if len(times_seconds) > 1 else Fraction(0)
    end_seconds = times_seconds[-1] + gap_seconds / 2
    chosen: list[int] = []
    tick = 0
    while Fraction(tick) / fps <= end_seconds:
        time_seconds = Fraction(tick) / fps
        nearest = min(range(len(times_seconds)), key=lambda index: (abs(times_seconds[index] - time_seconds), index))
        if nearest not in chosen:
            chosen.append(nearest)
        tick += 1
    return chosen
