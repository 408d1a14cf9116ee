"""Policies that archive every frame and show a question whole frames, which each layer chooses for itself.

Shape letters: L layers, K key/value heads, N rows, F frames, D head dimension.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.archiving import ArchivingPolicy
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.retrieval import GroupIndex, mean_keys, rows_of
from hermes_stream.policies.sliding_window import newest_frames


@dataclass(frozen=True, slots=True, eq=False)
class FrameArchiveState:
    """n_frames: how many frames had come when the last interval ended; all of them are archived and in the index."""

    tokens_per_frame: int
    n_frames: int = 0
    index: GroupIndex = field(default_factory=GroupIndex)


class FrameArchive(ArchivingPolicy):
    """Base: a sliding window to encode with, an archive of all frames, and some of these in time order for a question.

    Frames are archived when their interval ends, also those that the window still holds; the text between frames goes
    with the frame that it stands before. Frames that came since then are candidates too, from where they are held. The
    window itself is not seen by a question. Where it moves, what it holds is laid out afresh, so that the prefix stays
    at the window's far end.
    """

    def start(self, stream: StreamFacts) -> FrameArchiveState:
        super().start(stream)
        return FrameArchiveState(stream.tokens_per_frame)

    def after_chunk(self, view: MemoryView, state: FrameArchiveState) -> tuple[Plan, FrameArchiveState]:
        new_N = _rows_since(view.layers[0], state.n_frames)  # the same rows in every layer
        if new_N.numel() == 0:
            return Plan.keep_all(), state
        index = state.index.extended(*_index_entry(view.layers, new_N))
        return self._plan(view, new_N), FrameArchiveState(state.tokens_per_frame, view.frames_seen, index)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(sees_held=False, recalls=True, positions="view")

    def recall(self, layer: int, asked: Asked, state: FrameArchiveState) -> Recalled:
        waiting_N = _rows_since(asked.held, state.n_frames)
        index = state.index.of_layer(layer)
        if waiting_N.numel():
            index = index.extended(*_index_entry((asked.held,), waiting_N))
        if not index.sizes:
            return Recalled()
        size_F = torch.cat(index.sizes)
        chosen_F = self._choose(asked.query_HTD, torch.cat(index.means, dim=1)[0], size_F, state)
        row_N = rows_of(chosen_F, size_F)
        is_waiting_N = row_N >= asked.archive.n_rows
        return Recalled(row_N[~is_waiting_N], waiting_N[row_N[is_waiting_N] - asked.archive.n_rows])

    def forget(self, state: FrameArchiveState, forgetting: Forgetting, stream: StreamFacts) -> FrameArchiveState:  # noqa: ARG002
        return replace(state, index=state.index.left(forgetting, range(forgetting.view.n_layers)))

    @abstractmethod
    def _choose(
        self, query_HTD: torch.Tensor, mean_FKD: torch.Tensor, size_F: torch.Tensor, state: FrameArchiveState
    ) -> torch.Tensor:
        """The frames to recall, sorted, of all that have come. size_F: rows of each."""

    def _plan(self, view: MemoryView, new_N: torch.Tensor) -> Plan:
        frame_N = view.layers[0].frame_N
        if view.is_over_budget:
            keep_N, positions = newest_frames(frame_N, self.budget_tokens or 0), Positions.CONTIGUOUS
        else:
            keep_N, positions = torch.arange(frame_N.numel(), device=frame_N.device), Positions.KEEP
        return Plan((LayerPlan(keep_N, archive=new_N),) * view.n_layers, positions)


def _rows_since(layer: LayerView, first_frame: int) -> torch.Tensor:
    """The rows from a frame on; they are the last ones that the layer holds."""
    return (layer.frame_N >= first_frame).nonzero()[:, 0]


def _index_entry(layers: Sequence[LayerView], row_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of each frame `[F]` among the last rows of the layers, and these frames' mean keys `[L, F, K, D]`."""
    _, size_F = layers[0].frame_N[row_N].unique_consecutive(return_counts=True)
    return size_F, mean_keys([layer.tensors.raw_keys_KND[:, -row_N.numel() :] for layer in layers], size_F)
