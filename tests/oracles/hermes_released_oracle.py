"""Which rows HERMES' released code keeps, written from the description of that code, for one compression.

NumPy, whole caches with their prefix, scores overwritten in place from the last layer down, as the release does it.
Shares nothing with the package. Half precision is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Kept:
    """Cache rows that stay (prefix included) and those averaged into a summary, if any."""

    rows: list[int]
    summary_of: list[int]


def group_of(layer: int, n_layers: int) -> str:
    if layer < int(0.1 * n_layers):
        return "shallow"
    return "middle" if layer < int(0.7 * n_layers) else "deep"


def constants(layer: int, n_layers: int, is_llava: bool) -> tuple[float, float]:
    """Recency's weight and decay."""
    group = group_of(layer, n_layers)
    if group == "shallow":
        return 1.0, 20.0
    if group == "deep":
        return 0.0, 20.0
    first, end = int(0.1 * n_layers), int(0.7 * n_layers)
    p = (layer - first) / (end - first)
    return (1.0 - 0.9 * p, 20.0 - 19.5 * p) if is_llava else (0.75 - 0.6 * p, 20.0 - 12.0 * p)


def normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - values.min()) / (values.max() - values.min() + 1e-6)


def scores(attention: list[NDArray[np.float64]], is_llava: bool) -> list[NDArray[np.float64]]:
    """Smoothed scores of the video rows of every layer."""
    n_layers = len(attention)
    result = []
    for layer, given in enumerate(attention):
        weight, k = constants(layer, n_layers, is_llava)
        length = len(given)
        distance = np.arange(length)[::-1] / max(length - 1, 1)
        result.append((1 - weight) * normalised(given) + weight * normalised(np.exp(-k * distance)))
    amounts = {"shallow": 0.1, "middle": 0.3, "deep": 0.4}
    for layer in range(n_layers - 2, -1, -1):
        amount = amounts[group_of(layer, n_layers)]
        common = min(len(result[layer]), len(result[layer + 1]))
        mixed = result[layer].copy()
        mixed[:common] = (1 - amount) * result[layer][:common] + amount * result[layer + 1][:common]
        result[layer] = mixed
    return result


def compress(
    attention: list[NDArray[np.float64]], n_prefix: int, budget: int, is_llava: bool
) -> tuple[list[Kept], list[NDArray[np.float64]]] | None:
    """What stays in each layer, and the scores; None where the trigger does not hold. attention: of the video rows."""
    if n_prefix + len(attention[0]) <= budget:
        return None
    smoothed = scores(attention, is_llava)
    result = []
    for layer, score in enumerate(smoothed):
        is_deep = group_of(layer, len(attention)) == "deep"
        wanted = min(budget - 1 if is_deep else budget, len(score))
        # Ties: the sources leave them to the sort; the newer row, as the project has it.
        order = sorted(range(len(score)), key=lambda i: (-score[i], -i))
        best = sorted(order[:wanted])
        evicted = sorted(order[wanted:])
        rows = [*range(n_prefix), *(n_prefix + i for i in best)]
        result.append(Kept(rows, [n_prefix + i for i in evicted] if is_deep else []))
    return result, smoothed


def rank_positions(position_RN: NDArray[np.int64], n_prefix: int) -> NDArray[np.int64]:
    """M-RoPE compaction: on each axis the prefix plus the rank among the distinct values of the rows after it."""
    result = position_RN.copy()
    for axis in range(len(position_RN)):
        values = sorted(set(position_RN[axis][n_prefix:].tolist()))
        for i in range(n_prefix, position_RN.shape[1]):
            result[axis, i] = n_prefix + values.index(position_RN[axis, i])
    return result
