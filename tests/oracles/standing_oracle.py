"""When a standing question fires, from its rules read over the whole history of looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """after_gap: nothing was seen for a while before it."""

    seconds: float
    probability: float
    after_gap: bool = False


def news(looks: Sequence[Look]) -> list[Look]:
    """Looks later than every look before them."""
    return [
        look for index, look in enumerate(looks) if all(earlier.seconds < look.seconds for earlier in looks[:index])
    ]


def hits(
    looks: Sequence[Look], *, threshold: float, hold_seconds: float, hold_looks: int, cooldown_seconds: float
) -> list[float]:
    """Times at which it fires."""
    looks = news(looks)
    # Of odds p / (1 - p): as soon as they are below half of the threshold's.
    threshold_odds = threshold / (1 - threshold)
    fallen = [2 * look.probability < threshold_odds * (1 - look.probability) for look in looks]
    fired: list[int] = []
    for now, look in enumerate(looks):
        # Some look in the past, or this one, began a stretch without a gap in which all were high, long enough.
        is_held = any(
            all(each.probability >= threshold for each in looks[start : now + 1])
            and not any(each.after_gap for each in looks[start + 1 : now + 1])
            and look.seconds - looks[start].seconds >= hold_seconds
            and now - start + 1 >= hold_looks
            for start in range(now + 1)
        )
        is_armed = not fired or any(fallen[fired[-1] + 1 : now])
        is_cool = not fired or look.seconds - looks[fired[-1]].seconds >= cooldown_seconds
        if is_held and is_armed and is_cool:
            fired.append(now)
    return [looks[index].seconds for index in fired]
