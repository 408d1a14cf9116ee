"""FluxMem's store from its definition: three lists of frames, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .feature_oracle import Token, cosine, first_that_fit, mean_token, n_rows, otsu, window_distance


def changed(
    frame: Sequence[Token], previous: Sequence[Token] | None, following: Sequence[Token], *, upper: bool
) -> list[Token]:
    """What of a frame stays: what differs from a neighbour, but is not too much like what follows."""
    to_next = _distances(frame, following)
    to_previous = None if previous is None else _distances(frame, previous)
    kept = []
    for index, token in enumerate(frame):
        is_changed = to_next[index] >= otsu(to_next, upper=upper)
        if to_previous is not None:
            is_changed |= to_previous[index] >= otsu(to_previous, upper=upper)
        if is_changed and 1 - to_next[index] <= 0.8:
            kept.append(token)
    return kept


def _distances(frame: Sequence[Token], other: Sequence[Token]) -> list[float]:
    around = [(token.vector, token.cell) for token in other]
    return [max(window_distance(token.vector, token.cell, around), 0.0) for token in frame]


def patches(tokens: Sequence[Token], *, upper: bool) -> list[list[Token]]:
    """Flood fill over neighbours that resemble each other."""

    def touch(a: Token, b: Token) -> bool:
        return max(abs(a.cell[0] - b.cell[0]), abs(a.cell[1] - b.cell[1])) <= 1

    def distance(a: Token, b: Token) -> float:
        return max(1 - cosine(a.vector, b.vector), 0.0)

    edges = [distance(a, b) for index, a in enumerate(tokens) for b in tokens[index + 1 :] if touch(a, b)]
    threshold = otsu(edges, upper=upper) if edges else 0.0
    left, found = list(tokens), []
    while left:
        patch = [left.pop(0)]
        for token in patch:  # grows meanwhile
            near = [other for other in left if touch(token, other) and distance(token, other) <= threshold]
            patch += near
            left = [other for other in left if other not in near]
        found.append(sorted(patch, key=lambda token: token.number))
    return found


def merge(patch: Sequence[Token]) -> Token:
    if len(patch) == 1:
        return patch[0]
    middle = mean_token(patch, patch[0]).vector
    distances = [math.dist(token.vector, middle) for token in patch]
    return mean_token(
        patch, next(t for t, far in zip(patch, distances, strict=True) if far <= min(distances) * 1.000001)
    )


def store_after(
    intervals: Sequence[Sequence[Sequence[Token]]],
    *,
    budget: int,
    n_words: int,
    n_short: int,
    n_middle: int,
    upper: bool,
) -> list[Token]:
    """What is held after some intervals of frames; nothing moves on before the budget is passed."""
    frames: list[Sequence[Token]] = []
    first_short = first_middle = 0
    long: list[Token] = []
    middle: list[list[Token]] = []  # of frames first_middle to first_short
    for interval in intervals:
        frames += interval
        short = [token for frame in frames[first_short:] for token in frame]
        if n_rows([*long, *(t for frame in middle for t in frame), *short], n_words) <= budget:
            continue
        while first_short < len(frames) - n_short:
            previous = frames[first_short - 1] if first_short else None
            middle.append(changed(frames[first_short], previous, frames[first_short + 1], upper=upper))
            first_short += 1
        while len(middle) > n_middle or n_rows([t for frame in middle for t in frame], n_words) > budget // 2:
            long += [merge(patch) for patch in patches(middle.pop(0), upper=upper)]
            first_middle += 1
        long.sort(key=lambda token: token.number)
        short = [token for frame in frames[first_short:] for token in frame]
        stays = first_that_fit([*long, *(t for frame in middle for t in frame), *short][::-1], n_words, budget)
        long = [token for token in long if token in stays]
        middle = [[token for token in frame if token in stays] for frame in middle]
    return [*long, *(token for frame in middle for token in frame), *(t for f in frames[first_short:] for t in f)]
