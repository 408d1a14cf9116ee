"""A feature bank as a list of tokens: plans, layouts and places written out, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Token:
    """kind: 1 vision, 2 text, 3 merged. position: one number per axis, from where the frame begins."""

    embedding: list[float]
    kind: int
    frame: int
    row: int
    column: int
    position: tuple[int, ...]
    seconds: float
    count: int = 1


@dataclass(frozen=True)
class FoldOf:
    rows: list[int]
    by_count: bool
    anchor: int


def keep_and_fold(tokens: Sequence[Token], keep: Sequence[int], folds: Sequence[FoldOf]) -> list[Token]:
    """Kept tokens in their order; each merged one right behind the kept ones up to its anchor."""
    out: list[tuple[int, int, Token]] = [(row, 0, tokens[row]) for row in keep]
    for number, fold in enumerate(folds):
        weights = [tokens[row].count if fold.by_count else 1 for row in fold.rows]
        mean = [
            sum(w * tokens[row].embedding[e] for w, row in zip(weights, fold.rows, strict=True)) / sum(weights)
            for e in range(len(tokens[0].embedding))
        ]
        count = sum(tokens[row].count for row in fold.rows)
        merged = replace(tokens[fold.anchor], embedding=mean, kind=3, count=count)
        out.append((fold.anchor, 1 + number, merged))
    return [token for *_, token in sorted(out, key=lambda entry: entry[:2])]


def laid_out(tokens: Sequence[Token], *, absolute_time: bool) -> list[tuple[int, ...]]:
    """Where tokens stand in a span of their own that begins at 0."""
    if not tokens:
        return []
    if len(tokens[0].position) == 1:
        return [(index,) for index in range(len(tokens))]
    if absolute_time:
        first = min(token.position[0] for token in tokens)
        return [(token.position[0] - first, *token.position[1:]) for token in tokens]
    placed, end = [], 0
    for frame in sorted({token.frame for token in tokens}):
        ours = [token.position for token in tokens if token.frame == frame]
        low = min(min(position) for position in ours)
        placed += [tuple(axis - low + end for axis in position) for position in ours]
        end = 1 + max(max(position) for position in placed)
    return placed


def tokens_of(embeddings: torch.Tensor, table_rows: Sequence[Sequence[int]], seconds: Sequence[float]) -> list[Token]:
    """From tensors: one row of the table is kind, frame, row, column, count, identity, turn, positions."""
    return [
        Token(embedding, kind, frame, row, column, tuple(position), when, count)
        for embedding, (kind, frame, row, column, count, _, _, *position), when in zip(
            embeddings.tolist(), table_rows, seconds, strict=True
        )
    ]
