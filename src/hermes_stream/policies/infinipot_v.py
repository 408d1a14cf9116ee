"""InfiniPot-V: recent frames, patches that differ from them, and tokens with large values.

Source: InfiniPot-V, from the formulas of its paper; constants are those of its released code. TaR is the paper's
temporal redundancy, VaN its value norm.

Shape letters: K key/value heads (1 where all heads keep the same rows), N rows of one layer after its prefix, D head
dimension, G groups of rows that show the same cell.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional

from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy

_COLUMNS = 2**20  # more than any grid has; makes one number of row and column


class InfiniPotV(Policy):
    """Keep the newest frames, what differs from them in its own cell, and tokens with large values, head by head.

    Needs: keys and values. Budget M: rows of each layer. A layer that reaches it is compressed to C, so that it holds
    between C and M rows once an interval has ended.

    keep: C as a share of the frames that M holds, rounded down to whole frames, at least one. recent: the newest frames
    as a share of the frames' worth of rows held, rounded down likewise. alpha: the share of C for these and for cells
    that differ from them; the rest goes to the largest values. The defaults are the source's 24, 8 and 12 of 32 frames.
    heads: "separate" lets each key/value head keep rows of its own; "mean" averages both scores over the heads.
    keys: "raw" compares un-rotated keys; "rotated" is the released form, in which distance in time lowers similarity.

    Recent frames never take more than their part of C: they are as many whole ones as it holds, and where it does not
    hold one, the newest rows of the newest frame. A row is compared with the same cell of those recent frames in which
    its head holds that cell. Rows without such a partner have no TaR and stay for their values only: text between
    frames, which has no cell, and cells outside the grid of the recent frames. Ties go to the newer row.

    Always compresses to C: the released code compresses less near a video's end, which a stream does not know. Values
    are not pooled, as in the release; the pooling of the paper supposes whole grids, which a second compression no
    longer finds.
    """

    name: ClassVar[str] = "infinipot-v"
    needs_cells: ClassVar[bool] = True

    keep: float = Field(default=0.75, gt=0, le=1)
    recent: float = Field(default=0.25, ge=0, le=1)
    alpha: float = Field(default=0.5, ge=0, le=1)
    heads: Literal["separate", "mean"] = "separate"
    keys: Literal["raw", "rotated"] = "raw"

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        n_keep = self._n_keep(view.tokens_per_frame)
        n_rows = max(layer.n_rows for layer in view.layers)
        if n_rows < (self.budget_tokens or 0) or n_rows <= n_keep:
            return Plan.keep_all(), state
        return Plan(tuple(LayerPlan(self._select(layer, view, n_keep)) for layer in view.layers)), state

    def _n_keep(self, tokens_per_frame: int) -> int:
        """C, in rows."""
        return max(_whole(self.keep * ((self.budget_tokens or 0) // tokens_per_frame)), 1) * tokens_per_frame

    def _select(self, layer: LayerView, view: MemoryView, n_keep: int) -> torch.Tensor:
        """Rows to keep, `[n]`, or `[K, n]` for each head its own; all where forgetting has left few enough."""
        if layer.n_rows <= n_keep:
            return torch.arange(layer.n_rows, device=layer.table.data_CHN.device)
        tensors = layer.tensors
        n_values = round((1 - self.alpha) * n_keep)
        n_protected = n_keep - n_values
        n_recent = min(_whole(self.recent * layer.n_rows / view.tokens_per_frame), n_protected // view.tokens_per_frame)
        is_recent_KN = layer.table.frame_HN >= view.frames_seen - max(n_recent, 1)
        novelty_KN = _novelty(self._keys(layer), _cells(layer), is_recent_KN)
        size_KN = tensors.values_KND.float().norm(dim=-1)
        if self.heads == "mean":
            novelty_KN, size_KN = novelty_KN.mean(dim=0, keepdim=True), size_KN.mean(dim=0, keepdim=True)
        is_protected_KN = _protected(novelty_KN, is_recent_KN.expand_as(novelty_KN), n_protected)
        order_KN = _best_first(size_KN.masked_fill(is_protected_KN, torch.inf))
        keep_KN = order_KN[:, :n_keep].sort().values
        return keep_KN[0] if self.heads == "mean" else keep_KN

    def _keys(self, layer: LayerView) -> torch.Tensor:
        return layer.tensors.raw_keys_KND if self.keys == "raw" else layer.tensors.rotated_keys_KND


def _whole(frames: float) -> int:
    """Rounded down, but not where a float falls short of a whole number."""
    return int(frames + 1e-6)


def _cells(layer: LayerView) -> torch.Tensor:
    """A number for each row's cell, -1 for rows without one; int64 `[H, N]`."""
    row_HN, column_HN = layer.table.row_HN, layer.table.column_HN
    return torch.where(row_HN < 0, row_HN, row_HN * _COLUMNS + column_HN)


def _novelty(key_KND: torch.Tensor, cell_KN: torch.Tensor, is_recent_KN: torch.Tensor) -> torch.Tensor:
    """TaR: minus the mean cosine with the same cell of the recent frames, float32 `[K, N]`.

    -inf for rows without a partner, and for recent rows themselves.
    """
    direction_KND = functional.normalize(key_KND.float(), dim=-1)
    cell_KN, is_recent_KN = cell_KN.expand(key_KND.shape[:2]), is_recent_KN.expand(key_KND.shape[:2])
    # Rows of one cell form a group, numbered by where it begins among the sorted cells: as many groups as rows at most,
    # so that no size depends on values. The mean of cosines is the cosine with the sum of directions, by their number.
    group_KN = torch.searchsorted(cell_KN.sort(dim=-1).values, cell_KN.contiguous())
    is_partner_KN = is_recent_KN & (cell_KN >= 0)
    sum_KGD = torch.zeros_like(direction_KND).scatter_add_(
        1, group_KN[..., None].expand_as(direction_KND), direction_KND * is_partner_KN[..., None]
    )
    n_partners_KN = torch.zeros_like(group_KN).scatter_add_(1, group_KN, is_partner_KN.long()).gather(1, group_KN)
    sum_KND = sum_KGD.gather(1, group_KN[..., None].expand_as(direction_KND))
    mean_KN = (direction_KND * sum_KND).sum(dim=-1) / n_partners_KN
    return (-mean_KN).masked_fill(is_recent_KN | (n_partners_KN == 0), -torch.inf)


def _protected(novelty_KN: torch.Tensor, is_recent_KN: torch.Tensor, n_protected: int) -> torch.Tensor:
    """Recent rows, the newest first if they are too many, then the rows of highest TaR; bool `[K, N]`."""
    n_newer_KN = is_recent_KN.flip(-1).cumsum(dim=-1).flip(-1)
    is_kept_KN = is_recent_KN & (n_newer_KN <= n_protected)
    n_novel_K1 = n_protected - is_kept_KN.sum(dim=-1, keepdim=True)
    order_KN = _best_first(novelty_KN)
    rank_KN = torch.empty_like(order_KN).scatter_(
        1, order_KN, torch.arange(order_KN.shape[1], device=order_KN.device).expand_as(order_KN)
    )
    return is_kept_KN | ((rank_KN < n_novel_K1) & (novelty_KN > -torch.inf))


def _best_first(score_KN: torch.Tensor) -> torch.Tensor:
    """Rows by falling score, of equal scores the newer first; int64 `[K, N]`."""
    return score_KN.shape[1] - 1 - score_KN.flip(-1).argsort(dim=-1, descending=True, stable=True)
