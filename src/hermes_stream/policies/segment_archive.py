"""Segments on their way from the memory to the archive.

Shape letters: K key/value heads, F frames, G groups of archived rows (frames, mean frames), S segments, D head
dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hermes_stream.memory.mean_frame import n_cells
from hermes_stream.memory.plan import LayerPlan
from hermes_stream.memory.view import LayerView
from hermes_stream.policies.retrieval import GroupIndex, mean_keys, rows_of


@dataclass(frozen=True, slots=True, eq=False)
class Leaving:
    """The oldest segments, whose rows leave the memory together; the same rows in all layers.

    size_F: rows of each of their frames. segments: each as its first frame and the end, counted among these frames.
    n_left: rows that stay. cells: of each segment's mean frame.
    """

    size_F: torch.Tensor
    segments: tuple[tuple[int, int], ...]
    n_left: int
    cells: tuple[int, ...]

    @staticmethod
    def of(layer: LayerView, starts: Sequence[int], budget: int) -> Leaving:
        """As few segments as leave room. starts: the frames with which segments begin.

        The first one begins with the oldest row, whatever frame that is of: a policy around this one may have let a
        part of a segment leave, and keep the rest.
        """
        frame_F, size_F = layer.frame_N.unique_consecutive(return_counts=True)
        later_S = torch.searchsorted(frame_F, torch.tensor(starts[1:], device=frame_F.device)).tolist()
        segments = list(zip([0, *later_S], [*later_S, frame_F.numel()], strict=True))
        row_end_F = [0, *size_F.cumsum(0).tolist()]
        n = next(n for n, (_, end) in enumerate(segments, 1) if layer.n_rows - row_end_F[end] <= budget)
        segments = segments[:n]
        cells = tuple(n_cells(layer.table.slice(row_end_F[first], row_end_F[end])) for first, end in segments)
        n_frames = segments[-1][1]
        return Leaving(size_F[:n_frames], tuple(segments), layer.n_rows - row_end_F[n_frames], cells)

    @property
    def n_rows(self) -> int:
        return int(self.size_F.sum())

    @property
    def several(self) -> tuple[int, ...]:
        """Segments of more than one frame, by number."""
        return tuple(number for number, (first, end) in enumerate(self.segments) if end - first > 1)

    def means(self, layer: LayerView) -> torch.Tensor:
        """Mean key of each frame, `[F, K, D]`."""
        return mean_keys([layer.tensors.raw_keys_KND[:, : self.n_rows]], self.size_F)[0]

    def plan(self, chosen_F: torch.Tensor, summarised: Sequence[int]) -> LayerPlan:
        """Archive the chosen frames, and a mean frame of each of some segments behind them."""
        device = self.size_F.device
        means = tuple(
            rows_of(torch.arange(*self.segments[number], device=device), self.size_F) for number in summarised
        )
        keep_N = torch.arange(self.n_rows, self.n_rows + self.n_left, device=device)
        return LayerPlan(keep_N, archive=rows_of(chosen_F, self.size_F), archive_means=means)

    def extended(
        self, index: GroupIndex, mean_FKD: torch.Tensor, chosen_F: torch.Tensor, summarised: Sequence[int]
    ) -> GroupIndex:
        """The index with what the plan archives. A mean frame stands there for the mean of its frames' mean keys."""
        summaries = [mean_FKD[first:end].mean(dim=0) for first, end in (self.segments[number] for number in summarised)]
        size_G = torch.tensor([self.cells[number] for number in summarised], dtype=torch.int64, device=chosen_F.device)
        mean_GKD = torch.cat((mean_FKD[chosen_F], *(mean_KD[None] for mean_KD in summaries)))
        return index.extended(torch.cat((self.size_F[chosen_F], size_G)), mean_GKD[None])


def frame_sizes(layer: LayerView) -> torch.Tensor:
    """Rows of each frame that a layer holds, `[F]`."""
    sizes_F: torch.Tensor = layer.frame_N.unique_consecutive(return_counts=True)[1]
    return sizes_F
