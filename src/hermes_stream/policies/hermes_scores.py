"""The formulas of HERMES, as pure functions on tensors.

Shape letters: N rows of one layer after its prefix, oldest first. Scores are float32, or float64 where attention is.
Nothing here reads a tensor back to the host: all sizes are known from shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_MIN_MAX_EPSILON = 1e-6  # released code


@dataclass(frozen=True, slots=True)
class LayerGroups:
    """Layers `[0, shallow_end)` are shallow, `[shallow_end, deep_start)` middle, `[deep_start, n_layers)` deep."""

    shallow_end: int
    deep_start: int
    n_layers: int

    @property
    def middle(self) -> range:
        return range(self.shallow_end, self.deep_start)

    @property
    def deep(self) -> range:
        return range(self.deep_start, self.n_layers)

    def depth_in_middle(self, layer: int) -> float:
        """p_l = (l - l_s) / (l_d - l_s): 0 at the first middle layer, below 1 at the last."""
        return (layer - self.shallow_end) / (self.deep_start - self.shallow_end)

    def pick(self, layer: int, shallow: float, middle: float, deep: float) -> float:
        """The value of the group that a layer belongs to."""
        if layer < self.shallow_end:
            return shallow
        return middle if layer < self.deep_start else deep


@dataclass(frozen=True, slots=True)
class RecencySchedule:
    """How much recency counts in a layer, and how fast it fades.

    In middle layers the weight is `weight - weight_drop * p` and the decay `decay - decay_drop * p`, p the depth.
    """

    weight: float
    weight_drop: float
    decay_shallow: float
    decay: float
    decay_drop: float

    def weight_of(self, layer: int, groups: LayerGroups) -> float:
        """w_l: 1 in shallow layers (recency only), 0 in deep ones (attention only)."""
        if layer in groups.middle:
            return self.weight - self.weight_drop * groups.depth_in_middle(layer)
        return groups.pick(layer, shallow=1.0, middle=0.0, deep=0.0)

    def decay_of(self, layer: int, groups: LayerGroups) -> float:
        """k_l; deep layers have no use for it."""
        if layer in groups.middle:
            return self.decay - self.decay_drop * groups.depth_in_middle(layer)
        return self.decay_shallow


def recency(n_rows: int, decay: float, device: torch.device, *, is_relative: bool = True) -> torch.Tensor:
    """r_i = exp(-k x_i): 1 for the newest row.

    is_relative: x_i = (T - 1 - i) / max(T - 1, 1), so that the oldest row has exp(-k), however many there are;
    otherwise x_i = T - 1 - i, in rows.
    """
    age_N = torch.arange(n_rows - 1, -1, -1, dtype=torch.float32, device=device)
    return torch.exp(-decay * age_N / (max(n_rows - 1, 1) if is_relative else 1))


def min_max(value_N: torch.Tensor) -> torch.Tensor:
    """nrm(v) = (v - min v) / (max v - min v + 1e-6)."""
    low, high = value_N.aminmax()
    return (value_N - low) / (high - low + _MIN_MAX_EPSILON)


def mix_scores(attention_N: torch.Tensor | None, recency_N: torch.Tensor, weight: float) -> torch.Tensor:
    """S = (1 - w) nrm(a) + w nrm(r). attention_N may be missing where w is 1."""
    if attention_N is None:
        return min_max(recency_N)
    return (1 - weight) * min_max(attention_N) + weight * min_max(recency_N)


def smooth(
    score_per_layer: Sequence[torch.Tensor],
    identity_per_layer: Sequence[torch.Tensor] | None,
    lambda_per_layer: Sequence[float],
    *,
    is_recursive: bool,
) -> list[torch.Tensor]:
    """S~_l = (1 - lambda_l) S_l + lambda_l S_{l+1}; the last layer stays as it is.

    identity_per_layer: int64, names the token of each row, so that a token meets its own score of the next layer;
    None matches by row number instead. A token that the next layer lacks keeps its own score.
    is_recursive: mix with the smoothed score S~_{l+1} of the next layer, as the released code does.
    """
    smoothed = list(score_per_layer)
    above_per_layer = smoothed if is_recursive else score_per_layer
    for layer in range(len(smoothed) - 2, -1, -1):
        own_N, above_N = score_per_layer[layer], above_per_layer[layer + 1]
        if identity_per_layer is None:
            partner_N, has_partner_N = _partner_by_row(own_N, above_N)
        else:
            partner_N, has_partner_N = _partner_by_identity(identity_per_layer[layer], identity_per_layer[layer + 1])
        amount = lambda_per_layer[layer]
        mixed_N = (1 - amount) * own_N + amount * above_N[partner_N]
        smoothed[layer] = torch.where(has_partner_N, mixed_N, own_N)
    return smoothed


def top_rows(score_N: torch.Tensor, n_keep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with the highest scores, and the others; both sorted by row. Of equal scores the newer row is kept."""
    newest_first_N = torch.argsort(score_N.flip(0), descending=True, stable=True)
    rows_N = score_N.shape[0] - 1 - newest_first_N
    return rows_N[:n_keep].sort().values, rows_N[n_keep:].sort().values


def _partner_by_identity(identity_N: torch.Tensor, above_identity_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row: the row above with the same identity, and whether there is one."""
    sorted_identity_N, order_N = above_identity_N.sort()
    place_N = torch.searchsorted(sorted_identity_N, identity_N).clamp_(max=sorted_identity_N.shape[0] - 1)
    return order_N[place_N], sorted_identity_N[place_N] == identity_N


def _partner_by_row(own_N: torch.Tensor, above_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    row_N = torch.arange(own_N.shape[0], device=own_N.device)
    return row_N.clamp(max=above_N.shape[0] - 1), row_N < above_N.shape[0]
