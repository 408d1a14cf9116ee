"""What a prototype is, from its definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def weighted_mean(vectors: Sequence[Sequence[float]], weights: Sequence[float]) -> list[float]:
    """The sum of vectors times weights, by the sum of the weights."""
    total = sum(weights)
    return [
        sum(weight * vector[axis] for vector, weight in zip(vectors, weights, strict=True)) / total
        for axis in range(len(vectors[0]))
    ]


def middle(positions: Sequence[int]) -> int:
    """The mean position; half-way between two whole ones the later one."""
    return math.floor(Fraction(sum(positions), len(positions)) + Fraction(1, 2))
