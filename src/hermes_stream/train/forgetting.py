"""How memories forget: lifetimes of a stream's rows in groups of layers, and gaps between positions.

Shape letters: G grids, S rows of a stream, L layer groups.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hermes_stream.train.attention import N_GROUPS

# From the grid at which each row was born to the stream time, in grids, from which each layer group no longer sees it:
# float64 [S] to float64 [L, S].
Forgetting = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def draw_forgetting(n_grids: int, rng: np.random.Generator) -> Forgetting:
    """One of the ways in which memories forget; the function may be called once."""
    way = rng.random()
    if way < 0.15:
        life = int(rng.integers(3, max(4, n_grids)))
        return lambda born_S: np.tile(born_S + life, (N_GROUPS, 1))
    if way < 0.4:
        is_kept_G = rng.random(n_grids) < rng.uniform(0.2, 0.9)
        life_G = np.where(is_kept_G, np.inf, rng.integers(0, 6, n_grids) + 0.75)
        return lambda born_S: np.tile(born_S + life_G[born_S.astype(int)], (N_GROUPS, 1))
    return lambda born_S: _like_hermes(born_S, n_grids, rng)


def draw_gap_share(n_grids: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shares of the spare positions that were skipped before each grid: an offset, and gaps anywhere in the rest."""
    offset = rng.random() if rng.random() < 0.6 else 0.0
    if rng.random() < 0.4:
        return np.full(n_grids, offset)
    total = (1 - offset) * rng.random() ** 2
    cuts_G = np.where(rng.random(n_grids) < rng.uniform(0.05, 0.8), rng.exponential(1.0, n_grids), 0.0)
    shares_G: NDArray[np.float64] = offset + np.cumsum(cuts_G) / max(cuts_G.sum(), 1e-9) * total
    return shares_G


def _like_hermes(born_S: NDArray[np.float64], n_grids: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shallow layers keep a window, middle and deep layers different random rows."""
    shallow_S = born_S + rng.integers(4, max(5, min(24, n_grids)))
    middle_keep, deep_keep = rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.8)
    middle_S = born_S + _lifetimes(len(born_S), middle_keep, float(rng.integers(1, 8)), rng)
    deep_S = born_S + _lifetimes(len(born_S), deep_keep, 0.25 if rng.random() < 0.6 else 4.25, rng)
    return np.stack([shallow_S, middle_S, deep_S])


def _lifetimes(n_rows: int, keep: float, least: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Some rows live for ever, the others for `least` grids and a random time more."""
    lost_S = least + rng.exponential(rng.uniform(0.5, 12.0), n_rows)
    return np.where(rng.random(n_rows) < keep, np.inf, lost_S)
