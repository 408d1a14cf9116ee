"""Policies of the eviction group, written from their definitions with lists and loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def sinks_and_window(n_tokens: int, chunk: int, sinks: int, window: int) -> list[int]:
    """Tokens that come `chunk` at a time into a cache of sinks, filled once, and a queue."""
    first: list[int] = []
    queue: list[int] = []
    for start in range(0, n_tokens, chunk):
        for token in range(start, min(start + chunk, n_tokens)):
            (first if len(first) < sinks else queue).append(token)
        while len(queue) > window:
            queue.pop(0)
    return first + queue


@dataclass(frozen=True)
class Token:
    """What one head sees of a token. cell: None for text."""

    number: int
    frame: int
    cell: tuple[int, int] | None
    key: Sequence[float]
    value: Sequence[float]


def infinipot_keeps(
    tokens: Sequence[Token], *, n_keep: int, n_recent: int, alpha: float, newest_frame: int
) -> list[int]:
    """Numbers of the tokens that one head keeps of those it holds, oldest first.

    n_keep: C in tokens. n_recent: whole recent frames; 0 where their part does not hold one.
    """
    n_novel = n_keep - round((1 - alpha) * n_keep)
    recent = [token for token in tokens if token.frame > newest_frame - max(n_recent, 1)]
    past = [token for token in tokens if token.frame <= newest_frame - max(n_recent, 1)]
    chosen = recent[-n_novel:] if n_novel else []
    novelty = []
    for token in past:
        similar = [_cosine(token.key, r.key) for r in recent if token.cell is not None and r.cell == token.cell]
        if similar:
            novelty.append((-sum(similar) / len(similar), token.number, token))
    novelty.sort(reverse=True, key=lambda entry: entry[:2])
    chosen += [token for _, _, token in novelty[: n_novel - len(chosen)]]
    numbers = {token.number for token in chosen}
    rest = [(math.hypot(*token.value), token.number) for token in tokens if token.number not in numbers]
    rest.sort(reverse=True)
    return sorted(numbers | {number for _, number in rest[: n_keep - len(numbers)]})


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def streammem_keeps(attention: Sequence[float], n_keep: int) -> list[int]:
    """Rows by falling attention, of equal ones the newer first."""
    order = sorted(range(len(attention)), key=lambda row: (attention[row], row), reverse=True)
    return sorted(order[:n_keep])
