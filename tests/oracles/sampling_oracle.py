"""Uniform and random samples of a stream, written from their definitions with lists."""

from __future__ import annotations

import random


def dyadic_frames(n_frames: int, capacity: int) -> list[int]:
    """The frames that a causal dyadic reservoir holds, found without running it.

    It holds all multiples of a power of two; the stride doubles whenever one more would not fit.
    """
    stride = 1
    while len(range(0, n_frames, stride)) > capacity:
        stride *= 2
    return list(range(0, n_frames, stride))


def thinned(rows: list[int], n_keep: int, form: str) -> list[int]:
    """Rows that an even thinning keeps; linspace points are rounded half up."""
    n = len(rows)
    if n <= n_keep:
        return rows
    if form == "floor":
        return [rows[j * n // n_keep] for j in range(n_keep)]
    points = [j * (n - 1) / max(n_keep - 1, 1) for j in range(n_keep)]
    return [rows[int(point + 0.5)] for point in points]


def slot_reservoir(n_items: int, capacity: int, generator: random.Random) -> list[int]:
    """Reservoir sampling as it is usually taught: item i replaces a random slot j in 0..i, if there is such a slot."""
    slots: list[int] = []
    for item in range(n_items):
        if len(slots) < capacity:
            slots.append(item)
            continue
        slot = generator.randint(0, item)
        if slot < capacity:
            slots[slot] = item
    return sorted(slots)


def splitmix64(x: int) -> int:
    """One output of the published generator from its state, in unsigned integers."""
    x %= 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)
