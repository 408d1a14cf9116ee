"""Rotary positions, as pure functions of a table.

Shape letters: K key/value heads, H table heads (1 or K), N tokens, D head dimension, R position axes.
"""

from __future__ import annotations

from typing import Protocol

import torch


class Rope(Protocol):
    """Where a model puts its positions.

    `tables(position_RN, dtype)` returns cos and sin, each `[..., N, D]` for positions `[R, ..., N]`, such that the
    rotation is the identity at position 0 (tables of scaled variants such as YaRN come divided by their factor).
    """

    def tables(self, position_RN: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]: ...


def rotate(x_KND: torch.Tensor, cos_ND: torch.Tensor, sin_ND: torch.Tensor) -> torch.Tensor:
    """Rotate rows by the given tables; leading axes broadcast. The first half pairs with the second, as in Qwen2.

    Tables of one device serve layers on several.
    """
    cos_ND, sin_ND = cos_ND.to(x_KND.device), sin_ND.to(x_KND.device)
    first, second = x_KND.chunk(2, dim=-1)
    return x_KND * cos_ND + torch.cat((-second, first), dim=-1) * sin_ND


def unrotate(x_KND: torch.Tensor, cos_ND: torch.Tensor, sin_ND: torch.Tensor) -> torch.Tensor:
    """The inverse of `rotate`: exact in real arithmetic, one rounding away from it in floating point."""
    return rotate(x_KND, cos_ND, -sin_ND)
