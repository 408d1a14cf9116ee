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


@dataclass(frozen=True)
class Row:
    """A row of a stream with text between its frames."""

    number: int
    frame: int
    seconds: float
    is_text: bool


def streaming_vlm_keeps(
    rows: Sequence[Row], *, budget: int, seconds: float, head: int, tail: int
) -> tuple[list[int], list[int]]:
    """Numbers of the text rows before the window and of the window's rows; head and tail as they fit the budget."""
    room = budget - min(sum(row.is_text for row in rows), head + tail)
    window: list[Row] = []
    for frame in sorted({row.frame for row in rows if row.seconds > rows[-1].seconds - seconds}, reverse=True):
        of_frame = [row for row in rows if row.frame == frame]
        if len(window) + len(of_frame) > room:
            break
        window = of_frame + window
    if not window:
        window = list(rows[-room:])
    text = [row.number for row in rows if row.is_text and row not in window]
    if len(text) > head + tail:
        text = text[:head] + text[len(text) - tail :]
    return text, [row.number for row in window]


def laid_out_afresh(rows: Sequence[tuple[int, int, int]], start: int) -> list[tuple[int, int, int]]:
    """Positions of text and whole grids that follow each other without gaps: StreamingVLM's contiguous RoPE.

    rows: frame, row and column of each token; -1 for row and column of text. Text takes the next number on all axes; a
    grid at p has t = p, h = p + row, w = p + column; what follows stands past the largest of these.
    """
    positions: list[tuple[int, int, int]] = []
    corner, last_grid = start, -1
    for frame, row, column in rows:
        end = max((max(position) for position in positions), default=start - 1) + 1
        if row < 0:
            positions.append((end, end, end))
            last_grid = -1
        else:
            corner = corner if frame == last_grid else end
            positions.append((corner, corner + row, corner + column))
            last_grid = frame
    return positions
