"""CausalMem from its definition, one frame and one token at a time, in double precision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .feature_oracle import Token, first_that_fit, mean_token, n_rows

Basis = list[tuple[np.ndarray, float]]  # columns with their usage


def residual(columns: Sequence[np.ndarray], vector: Sequence[float]) -> np.ndarray:
    left = np.asarray(vector, dtype=np.float64)
    return left - sum(((left @ column) * column for column in columns), np.zeros_like(left))


def first_basis(vectors: Sequence[Sequence[float]], n_columns: int) -> Basis:
    """Eigenvectors of X'X with the largest eigenvalues, but for those of eigenvalue 0."""
    matrix = np.asarray(vectors, dtype=np.float64)
    values, columns = np.linalg.eigh(matrix.T @ matrix)
    order = sorted(range(len(values)), key=lambda index: -values[index])
    return [(columns[:, index], 1.0) for index in order[:n_columns] if values[index] > 1e-8 * max(values)]


def learn(basis: Basis, vectors: Sequence[Sequence[float]], n_columns: int, n_new: int) -> Basis:
    columns = [column for column, _ in basis]
    used = [
        (column, 0.9 * usage + 0.1 * float(np.mean([abs(np.asarray(vector) @ column) for vector in vectors])))
        for column, usage in basis
    ]
    residuals = sorted((residual(columns, vector) for vector in vectors), key=lambda left: -np.linalg.norm(left))
    for left in residuals[:n_new]:
        direction = residual(columns, left)
        if (norm := np.linalg.norm(direction)) > 1e-4:
            columns.append(direction / norm)
            used.append((columns[-1], 1.0))
    least_first = sorted(range(len(used)), key=lambda index: (used[index][1], -index))
    gone = set(least_first[: max(len(used) - n_columns, 0)])
    return [column for index, column in enumerate(used) if index not in gone]


def bank_after(
    frames: Sequence[Sequence[Token]],
    *,
    budget: int,
    n_words: int,
    n_columns: int,
    n_new: int,
    share: float,
    learns_first: bool,
) -> list[Token]:
    """What is held in the end: tokens and backgrounds, by frame, backgrounds last."""
    basis: Basis = []
    tokens: list[Token] = []
    lost: list[Token] = []  # every token that a background stands for
    for index, frame in enumerate(frames):
        vectors = [token.vector for token in frame]
        after = learn(basis, vectors, n_columns, n_new) if index else first_basis(vectors, n_columns)
        scores_by = after if learns_first or not index else basis
        basis = after
        tokens += frame
        if n_rows([*tokens, *_backgrounds(lost)], n_words) <= budget:
            continue
        n_frames = len({token.frame for token in (*tokens, *lost)})
        columns = [column for column, _ in scores_by]
        ranked = sorted(tokens, key=lambda t: (-np.linalg.norm(residual(columns, t.vector)), -t.number))
        kept = first_that_fit(ranked, n_words, budget - min(math.floor(share * budget), n_frames))
        lost += [token for token in tokens if token not in kept]
        newest_first = sorted(_backgrounds(lost), key=lambda token: -token.frame)
        stays = first_that_fit(newest_first, n_words, budget - n_rows(kept, n_words), paid=kept)
        lost = [token for token in lost if token.frame in {one.frame for one in stays}]
        tokens = sorted(kept, key=lambda token: token.number)
    return sorted([*tokens, *_backgrounds(lost)], key=lambda token: (token.frame, token.is_merged, token.number))


def _backgrounds(lost: Sequence[Token]) -> list[Token]:
    frames = sorted({token.frame for token in lost})
    parts = [[token for token in lost if token.frame == frame] for frame in frames]
    return [mean_token(part, part[-1]) for part in parts]
