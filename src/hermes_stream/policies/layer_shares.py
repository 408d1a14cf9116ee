"""How many blocks each layer takes when all layers share a number of them (StreamKV's layer-adaptive allocation).

Shape letters: F candidates of one layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def cumulated_mass(score_F: torch.Tensor) -> torch.Tensor:
    """Scores as z-scores, then as a softmax, sorted falling and added up; float64 `[F]`, ends with 1.

    Scores that are all equal have equal masses.
    """
    exact_F = score_F.double()
    deviation = exact_F.std(correction=0)
    z_F = torch.where(deviation > 0, (exact_F - exact_F.mean()) / deviation, torch.zeros_like(exact_F))
    return z_F.softmax(dim=0).sort(descending=True).values.cumsum(dim=0)


def layer_counts(mass_per_layer: Sequence[torch.Tensor], total: int, spread: float) -> tuple[int, ...]:
    """How many of its candidates each layer takes, `total` together; layers whose scores are flat take more.

    mass_per_layer: `cumulated_mass` of each layer's candidates. With a common share p of mass a layer takes K(p), the
    least number of candidates whose mass reaches p, at least one; p is such that all numbers add up to the total. The
    source searches for it by halving and stops within 5 of the total; K(p) grows by one at each cumulated mass, so that
    the smallest of these give the total exactly.
    spread: each number stays within this share of the mean, rounded outwards. No layer takes more than it has, or none.
    """
    mean = total / max(len(mass_per_layer), 1)
    counts, steps = [], []
    for layer, mass_F in enumerate(mass_per_layer):
        n = mass_F.numel()
        least = min(n, max(1, math.floor(mean * (1 - spread))))
        most = min(n, max(least, math.ceil(mean * (1 + spread))))
        counts.append(least)
        if most > least:
            steps += [(mass, layer) for mass in mass_F[least - 1 : most - 1].tolist()]
    for _, layer in sorted(steps)[: max(total - sum(counts), 0)]:
        counts[layer] += 1
    return tuple(counts)
