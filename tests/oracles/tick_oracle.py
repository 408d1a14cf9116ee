"""Which frames of a live stream are looked at, from the definition and with exact numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def first_at_or_after_ticks(times: Sequence[Fraction], fps: Fraction) -> list[int]:
    """Indices of the frames that are the first one at or after some tick k / fps; the very first frame always is.

    times: in order.
    """
    chosen = {0} if times else set()
    last = max(times, default=Fraction(0))
    for tick in range(math.floor(min(times, default=Fraction(0)) * fps), math.floor(last * fps) + 1):
        later = [index for index, time in enumerate(times) if time >= Fraction(tick) / fps]
        if Fraction(tick) / fps >= times[0]:
            chosen.add(later[0])
    return sorted(chosen)
