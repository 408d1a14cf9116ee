"""Rules of policies that hold features, from their definitions: plain numbers and loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median_low

Vector = Sequence[float]


def cosine(a: Vector, b: Vector) -> float:
    """0 where one is a vector of zeros."""
    norms = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def otsu(values: Sequence[float], *, upper: bool) -> float:
    """Of all ways to cut 128 bins on [0, 2] in two, the one whose classes' means are farthest apart, by weight."""
    bins = [min(max(int(value * 64), 0), 127) for value in values]
    if len(set(bins)) == 1:
        return median_low(values)
    best, best_cut = -1.0, 0
    for cut in range(127):
        low, high = [b for b in bins if b <= cut], [b for b in bins if b > cut]
        if low and high:
            variance = len(low) * len(high) * (fmean(high) - fmean(low)) ** 2
            if variance > best * (1 + 1e-12):
                best, best_cut = variance, cut
    return (best_cut + (1.0 if upper else 0.5)) / 64


def window_distance(token: Vector, cell: tuple[int, int], others: Sequence[tuple[Vector, tuple[int, int]]]) -> float:
    """1 minus the largest cosine with those of the other frame at most one row and one column away; 2 without any."""
    near = [
        cosine(token, other)
        for other, (row, column) in others
        if abs(row - cell[0]) <= 1 and abs(column - cell[1]) <= 1
    ]
    return 1 - max(near) if near else 2.0


@dataclass(frozen=True)
class Token:
    """One row of a bank: where it stands, what it is, and how many tokens of the stream it stands for."""

    number: int
    frame: int
    cell: tuple[int, int]
    seconds: float
    vector: tuple[float, ...]
    count: int = 1
    is_merged: bool = False


def mean_token(parts: Sequence[Token], place: Token) -> Token:
    """The count-weighted mean of some tokens, in the place of one."""
    count = sum(part.count for part in parts)
    vector = tuple(sum(part.count * part.vector[axis] for part in parts) / count for axis in range(len(place.vector)))
    return replace(place, vector=vector, count=count, is_merged=True)


def n_rows(tokens: Sequence[Token], n_words: int) -> int:
    """Tokens and the words of the frames that they stand in."""
    return len(tokens) + n_words * len({token.frame for token in tokens})


def first_that_fit(tokens: Sequence[Token], n_words: int, room: int, paid: Sequence[Token] = ()) -> list[Token]:
    """Tokens in order, until one does not fit with its frame's words; those of frames in `paid` are counted already."""
    taken: list[Token] = []
    for token in tokens:
        words = [other for other in (*taken, token) if other.frame not in {one.frame for one in paid}]
        if len(taken) + 1 + n_words * len({other.frame for other in words}) > room:
            break
        taken.append(token)
    return taken
