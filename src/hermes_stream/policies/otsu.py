"""Otsu's threshold: where a histogram falls best into two classes.

Shape letters: N values, B bins.
"""

from __future__ import annotations

from typing import Literal

import torch

Edge = Literal["upper", "centre"]

N_BINS = 128  # FluxMem
TOP = 2.0  # the largest cosine distance


def otsu_threshold(value_N: torch.Tensor, *, at: Edge = "upper") -> torch.Tensor:
    """The threshold that separates large values from small ones; float32 `[...]` for values `[..., N]`, N at least 1.

    128 bins on [0, 2]; values outside count in the first or last one. Of all cuts between two bins the one with the
    largest variance between the classes, of equal ones the lowest. at: the "upper" edge of the last low bin, below
    which all low values are, or its "centre", as FluxMem's release has it. Values that fill one bin only have no cut:
    their median (of two middle values the lower), which their constant is equal to.

    Deterministic; nothing is read back to the host. Source: Otsu 1979; bins and median from FluxMem's release.
    """
    per_unit = N_BINS / TOP  # a power of two: edges are exact
    bin_N = (value_N.float() * per_unit).floor().clamp(0, N_BINS - 1).long()
    count_B = torch.zeros(*value_N.shape[:-1], N_BINS, dtype=torch.float64, device=value_N.device)
    count_B.scatter_add_(-1, bin_N, torch.ones_like(bin_N, dtype=torch.float64))
    cut_1 = _between_variance(count_B).argmax(dim=-1, keepdim=True)  # the first of equal ones
    threshold_1 = (cut_1 + (1.0 if at == "upper" else 0.5)) / per_unit
    is_one_bin_1 = count_B.amax(dim=-1, keepdim=True) == value_N.shape[-1]
    median_1 = value_N.float().median(dim=-1, keepdim=True).values
    return torch.where(is_one_bin_1, median_1, threshold_1.float())[..., 0]


def _between_variance(count_B: torch.Tensor) -> torch.Tensor:
    """Of each cut after a bin: n_low n_high (mean_high - mean_low)^2, which is 0 where a class is empty; `[..., B]`.

    Bins stand for their number, so that all sums are whole and cuts through the same gap are equal to the last bit.
    """
    place_B = torch.arange(N_BINS, dtype=torch.float64, device=count_B.device)
    low_B, low_sum_B = count_B.cumsum(-1), (count_B * place_B).cumsum(-1)
    high_B, high_sum_B = low_B[..., -1:] - low_B, low_sum_B[..., -1:] - low_sum_B
    return (high_sum_B * low_B - low_sum_B * high_B) ** 2 / (low_B * high_B).clamp(min=1)
