"""LiveVLM, written from its definition with lists and loops."""

from __future__ import annotations

import math
from collections.abc import Sequence


def bucketing_keeps(
    scores: Sequence[float], places: Sequence[int], n_places: int, n_keep: int, n_top: int, capacity: int
) -> list[int]:
    """Numbers of the tokens that stay. places: of each token in the stream, from 1 to `n_places`."""
    n_buckets = n_keep // capacity
    best_first = sorted(range(len(scores)), key=lambda i: (scores[i], i), reverse=True)
    bucket = [math.ceil(place * n_buckets / n_places) for place in places]
    held: dict[int, int] = {}
    kept, refused = [], []
    for number in best_first[:n_top]:
        kept.append(number)
        held[bucket[number]] = held.get(bucket[number], 0) + 1
    for number in best_first[n_top:]:
        if held.get(bucket[number], 0) < capacity:
            kept.append(number)
            held[bucket[number]] = held.get(bucket[number], 0) + 1
        else:
            refused.append(number)
    return sorted((kept + refused)[:n_keep])


def page_attention(
    queries: Sequence[Sequence[Sequence[float]]], keys: Sequence[Sequence[Sequence[float]]], page_rows: int
) -> list[float]:
    """Mean over heads and tokens of the softmax over pages. queries: [heads][tokens][D]; keys: [kv heads][rows][D]."""
    group = len(queries) // len(keys)
    totals: list[float] = []
    for head, tokens in enumerate(queries):
        rows = keys[head // group]
        pages = [rows[start : start + page_rows] for start in range(0, len(rows), page_rows)]
        means = [[sum(column) / len(page) for column in zip(*page, strict=True)] for page in pages]
        totals = totals or [0.0] * len(means)
        for query in tokens:
            scores = [sum(q * k for q, k in zip(query, mean, strict=True)) / math.sqrt(len(query)) for mean in means]
            total = sum(math.exp(score) for score in scores)
            totals = [sum_ + math.exp(score) / total for sum_, score in zip(totals, scores, strict=True)]
    return [total / (len(queries) * len(queries[0])) for total in totals]
