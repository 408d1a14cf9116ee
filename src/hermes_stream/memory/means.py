"""Means of rows.

Shape letters: K heads, N rows, P means, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def weighted_means(x_KND: torch.Tensor, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """One mean for each part, its rows and their weights, on the device of the rows: `[K, P, D]`."""
    return torch.cat([_weighted_mean(x_KND, rows_N, weight_N) for rows_N, weight_N in parts], dim=1)


def _weighted_mean(x_KND: torch.Tensor, rows_N: torch.Tensor, weight_N: torch.Tensor) -> torch.Tensor:
    exact = torch.promote_types(x_KND.dtype, torch.float32)
    chosen_KND = x_KND[:, rows_N.to(x_KND.device)].to(exact)
    mean_KD = torch.einsum("knd,n->kd", chosen_KND, weight_N.to(x_KND.device, exact))
    return mean_KD[:, None].to(x_KND.dtype)
