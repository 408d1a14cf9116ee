"""HERMES' selection in plain Python floats, one loop per formula of the paper. Slow and obvious on purpose.

A layer is a list of rows, oldest first. Written from the formulas; shares no code with the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class OracleRules:
    """What is fixed before the first frame; the defaults are the paper's."""

    first_middle: int
    first_deep: int
    budget: int
    omega: float = 0.75
    gamma: float = 0.6
    k_shallow: float = 20.0
    k_middle: float = 20.0
    k_middle_fall: float = 12.0
    lambdas: tuple[float, float, float] = (0.1, 0.3, 0.4)
    smoothing: str = "one-step"  # or "recursive", "none"
    match: str = "identity"  # or "index"
    summaries: bool = True

    def group(self, layer: int) -> int:
        """0 shallow, 1 middle, 2 deep."""
        if layer < self.first_middle:
            return 0
        return 1 if layer < self.first_deep else 2


def min_max(values: list[float]) -> list[float]:
    return [(v - min(values)) / (max(values) - min(values) + 1e-6) for v in values]


def scores(attention: list[list[float]], rules: OracleRules) -> list[list[float]]:
    """S of every layer from the attention that its rows get."""
    result = []
    for layer, a in enumerate(attention):
        n = len(a)
        group = rules.group(layer)
        k, w = rules.k_shallow, (1.0, None, 0.0)[group]
        if w is None:
            p = (layer - rules.first_middle) / (rules.first_deep - rules.first_middle)
            w = rules.omega - rules.gamma * p
            k = rules.k_middle - rules.k_middle_fall * p
        recency = []
        for i in range(n):
            x = (n - 1 - i) / max(n - 1, 1)
            recency.append(math.exp(-k * x))
        a, recency = min_max(a), min_max(recency)
        result.append([(1 - w) * a[i] + w * recency[i] for i in range(n)])
    return result


def smoothed(raw: list[list[float]], identities: list[list[int]], rules: OracleRules) -> list[list[float]]:
    """S~ of every layer, from deep to shallow."""
    result = [list(layer) for layer in raw]
    if rules.smoothing == "none":
        return result
    for layer in reversed(range(len(raw) - 1)):
        source = result[layer + 1] if rules.smoothing == "recursive" else raw[layer + 1]
        amount = rules.lambdas[rules.group(layer)]
        for i in range(len(raw[layer])):
            if rules.match == "index":
                partner = i if i < len(source) else None
            else:
                above = identities[layer + 1]
                partner = above.index(identities[layer][i]) if identities[layer][i] in above else None
            if partner is not None:
                result[layer][i] = (1 - amount) * raw[layer][i] + amount * source[partner]
    return result


def n_keep(layer: int, rules: OracleRules) -> int:
    return rules.budget - 1 if rules.group(layer) == 2 and rules.summaries else rules.budget


def kept(score: list[float], n: int) -> list[int]:
    """The n best rows; of equal scores the newer one."""
    best = sorted(range(len(score)), key=lambda i: (score[i], i), reverse=True)
    return sorted(best[:n])


def recency_window(n_rows: int, budget: int) -> list[int]:
    """What a layer keeps that looks at recency alone."""
    return list(range(max(n_rows - budget, 0), n_rows))
