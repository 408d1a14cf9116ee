"""Policies of the eviction group, written from their definitions with lists and loops."""

from __future__ import annotations


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
