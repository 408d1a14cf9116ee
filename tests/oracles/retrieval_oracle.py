"""Retrieval as ReKV, StreamingTOM and CacheFlow define it, in loops over lists of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]


def representative(keys_by_head: Sequence[Sequence[Vector]], n_query_heads: int) -> list[float]:
    """Mean key of a frame: each key/value head's, repeated for its query heads, one after the other.

    keys_by_head: for each key/value head the keys of the frame's tokens.
    """
    repeats = n_query_heads // len(keys_by_head)
    return [x for keys in keys_by_head for _ in range(repeats) for x in mean(keys)]


def question(queries_by_head: Sequence[Sequence[Vector]]) -> list[float]:
    """Mean query over the question's tokens, heads one after the other."""
    return [x for queries in queries_by_head for x in mean(queries)]


def mean(vectors: Sequence[Vector]) -> list[float]:
    return [sum(vector[axis] for vector in vectors) / len(vectors) for axis in range(len(vectors[0]))]


def score(query: Vector, key: Vector, similarity: str) -> float:
    dot = sum(a * b for a, b in zip(query, key, strict=True))
    if similarity == "dot":
        return dot
    return dot / (math.hypot(*query) * math.hypot(*key))


def frames_recalled(scores: Sequence[float], n_frames: int, group: int, recent: int) -> list[int]:
    """The `recent` newest frames, and of the others the best groups of neighbours as far as whole groups fit."""
    older = list(range(max(len(scores) - recent, 0)))
    groups = [older[start : start + group] for start in range(0, len(older), group)]
    ranked = sorted(groups, key=lambda frames: (-sum(scores[f] for f in frames) / len(frames), -frames[0]))
    chosen = [frame for frames in ranked[: (n_frames - recent) // group] for frame in frames]
    return sorted([*chosen, *range(len(older), len(scores))])


def blocks_agreed(first: Sequence[int], last: Sequence[int], n_blocks: int) -> set[int]:
    """R0 ∩ RL, then RL, then R0, until there are enough."""
    taken: list[int] = []
    for candidates in ([b for b in last if b in first], last, first):
        for block in candidates:
            if block not in taken and len(taken) < n_blocks:
                taken.append(block)
    return set(taken)
