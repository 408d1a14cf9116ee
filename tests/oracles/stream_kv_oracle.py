"""StreamKV's segments and its allocation over layers, written from their definition with lists and loops."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def segments(features: Sequence[Sequence[float]], similarity: float, least: int, most: int) -> list[list[int]]:
    """Runs of frames."""
    runs: list[list[int]] = []
    for frame, feature in enumerate(features):
        length = len(runs[-1]) if runs else most
        differs = frame > 0 and _cosine(features[frame - 1], feature) <= similarity
        if length >= most or (length >= least and differs):
            runs.append([frame])
        else:
            runs[-1].append(frame)
    return runs


def masses(scores: Sequence[float]) -> list[float]:
    """z-scores, softmax."""
    deviation = statistics.pstdev(scores)
    z = [(score - statistics.fmean(scores)) / deviation if deviation else 0.0 for score in scores]
    total = sum(math.exp(x) for x in z)
    return [math.exp(x) / total for x in z]


def count_at(mass: Sequence[float], share: float) -> int:
    """K(p): the least number of blocks whose mass reaches p, at least one."""
    falling = sorted(mass, reverse=True)
    for count in range(1, len(falling) + 1):
        if sum(falling[:count]) >= share:
            return count
    return len(falling)


def counts_by_halving(mass_of_layers: Sequence[Sequence[float]], total: int) -> list[int]:
    """The counts at the least p at which they add up to the total or more."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if sum(count_at(mass, middle) for mass in mass_of_layers) >= total:
            high = middle
        else:
            low = middle
    return [count_at(mass, high) for mass in mass_of_layers]


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
