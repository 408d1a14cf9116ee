"""CacheFlow: blocks of tokens in an archive, and one choice of them for all layers, made by the first and the last.

Source: CacheFlow, from its formulas. Its dropping of tokens before the text model (DTD) is a front-end.

Shape letters: K key/value heads, N rows, B blocks, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.archiving import ArchivingPolicy
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.retrieval import GroupIndex, consensus, group_scores, mean_keys, ranked, rows_of


@dataclass(frozen=True, slots=True, eq=False)
class CacheFlowState:
    """block: rows of one. next_identity: of the first row that no block has yet. index: first and last layer alone."""

    block: int
    next_identity: int = 0
    index: GroupIndex = field(default_factory=GroupIndex)


class CacheFlow(ArchivingPolicy):
    """Archive blocks of one frame's worth of rows; a question sees the best ones in all layers, before the window.

    Needs: keys, and queries of the question. Budget: rows of the window, which a question sees whole; it sees as many
    rows of blocks that left the window unless `blocks` sets their number (the source: 64 of 196 rows).

    Rows are packed into blocks as they come, whatever frame they belong to; the rows of a block that is not full wait
    in the window. A block stands for its mean key, in the first and in the last layer, and is ranked by its cosine with
    the question's mean query there. What both rankings name is recalled, then what the last one names, then the first.
    cut: both rankings are cut to so many times the number of blocks that are recalled. 1 is the paper's rule; it leaves
    what the last layer alone would choose, for that names as many as are recalled.

    The queries are those of a pass of the question over the window alone. A block that the window holds in part is
    recalled for the rest. Differs from the source: no random recurrent network to sum up a block, whose gain there is
    within the noise.
    """

    name: ClassVar[str] = "cacheflow"
    is_per_frame: ClassVar[bool] = True

    blocks: int | None = Field(default=None, ge=1)
    cut: int = Field(default=1, ge=1)

    def start(self, stream: StreamFacts) -> CacheFlowState:
        super().start(stream)
        return CacheFlowState(max(stream.tokens_per_frame, 1))

    def seen_rows(self, stream: StreamFacts) -> int:
        block = max(stream.tokens_per_frame, 1)
        return (self.budget_tokens or 0) + self._n_blocks(block) * block

    def after_chunk(self, view: MemoryView, state: CacheFlowState) -> tuple[Plan, CacheFlowState]:
        identity_N = view.layers[0].identity_N  # the same rows in every layer
        first = int((identity_N < state.next_identity).sum())
        n_blocks = (identity_N.numel() - first) // state.block
        if n_blocks == 0 and not view.is_over_budget:
            return Plan.keep_all(), state
        row_N = torch.arange(identity_N.numel(), device=identity_N.device)
        packed_N = row_N[first : first + n_blocks * state.block]
        keep_N = row_N[-(self.budget_tokens or 0) :]
        positions = Positions.CONTIGUOUS if view.is_over_budget else Positions.KEEP
        plan = Plan((LayerPlan(keep_N, archive=packed_N),) * view.n_layers, positions)
        return plan, self._indexed(view, packed_N, state) if n_blocks else state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(recalls=True, positions="view")

    def recall(self, layer: int, asked: Asked, state: CacheFlowState) -> Recalled:  # noqa: ARG002
        """Nothing but the window, until the last layer has been asked."""
        return Recalled()

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: CacheFlowState) -> Sequence[Recalled]:
        n_gone = _n_before(asked[0])
        if n_gone == 0:
            return recalled
        size_B = torch.cat(state.index.sizes)
        size_B = size_B[size_B.cumsum(0) - size_B < n_gone]
        n_chosen = self._n_blocks(state.block)
        mean_LBKD = torch.cat(state.index.means, dim=1)[:, : size_B.numel()]
        first, last = (
            ranked(group_scores(one.query_HTD, mean_BKD, "cosine"))[: self.cut * n_chosen]
            for one, mean_BKD in zip((asked[0], asked[-1]), mean_LBKD, strict=True)
        )
        row_N = rows_of(torch.tensor(consensus(first, last, n_chosen), device=size_B.device), size_B)
        return [Recalled(row_N[row_N < n_gone])] * len(asked)

    def forget(self, state: CacheFlowState, forgetting: Forgetting, stream: StreamFacts) -> CacheFlowState:  # noqa: ARG002
        return replace(state, index=state.index.left(forgetting, (0, forgetting.view.n_layers - 1)))

    def _n_blocks(self, block: int) -> int:
        return (self.budget_tokens or 0) // block if self.blocks is None else self.blocks

    def _indexed(self, view: MemoryView, packed_N: torch.Tensor, state: CacheFlowState) -> CacheFlowState:
        ends = (view.layers[0], view.layers[-1])
        keys = [layer.tensors.raw_keys_KND[:, packed_N] for layer in ends]
        size_B = torch.full((packed_N.numel() // state.block,), state.block, device=packed_N.device)
        next_identity = int(view.layers[0].identity_N[packed_N[-1]]) + 1
        return replace(state, next_identity=next_identity, index=state.index.extended(size_B, mean_keys(keys, size_B)))


def _n_before(asked: Asked) -> int:
    """How many archived rows are older than all held ones."""
    if asked.archive.n_rows == 0 or asked.held.n_rows == 0:
        return asked.archive.n_rows
    return int((asked.archive.table.identity_HN[0] < asked.held.identity_N[0]).sum())
