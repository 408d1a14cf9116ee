"""Tiered: the newest frames exact, everything before them in few bits and spread over time.

How it was found: docs/house-policy.md.

Shape letters: N rows of the two tiers of one layer, C rows of the compressed tier.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.packed_rows import Bits, packed_bytes
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, ViewSpec

# Multiples of it, without their whole parts, lie as evenly as multiples of a number can, however many there are.
_GOLDEN_RATIO = (5**0.5 - 1) / 2


class Tiered(Policy):
    name: ClassVar[str] = "tiered"
    recalls_at: ClassVar[Literal["questions", "always"]] = "always"

    bits: Bits = 4
    recent: int = Field(default=1, ge=0)
    power: float = 0.0
    places: Literal["stored", "view"] = "stored"

    @property
    def archive(self) -> ArchiveSettings:
        return ArchiveSettings(bits=self.bits, ranges="row", resident=True, host_bytes=2**62)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(recalls=True, asks_first=False, positions=self.places)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        layer, budget = view.layers[0], self.budget_tokens or 0
        n_archived = layer.archive.n_rows
        if not n_archived and layer.n_rows <= budget:
            return Plan.keep_all(), state
        n_exact = min(self.recent * view.tokens_per_frame, budget // 2)
        n_leaving = max(layer.n_rows - n_exact, 0)
        frame_N, seat_N = self._rows(layer, n_leaving)
        share_N = (frame_N.double() * _GOLDEN_RATIO + seat_N / view.tokens_per_frame) % 1
        share_N *= (view.frames_seen - frame_N).double() ** self.power
        chosen_N = share_N.argsort(stable=True)[: self._n_compressed(layer, budget - n_exact)].sort().values
        rows_N = torch.arange(layer.n_rows, device=frame_N.device)
        plan = LayerPlan(
            rows_N[n_leaving:],
            archive=chosen_N[chosen_N >= n_archived] - n_archived,
            keep_archive=chosen_N[chosen_N < n_archived],
        )
        return Plan((plan,) * view.n_layers), state

    def _rows(self, layer: LayerView, n_leaving: int):
        tables = [layer.table.slice(0, n_leaving)]
        if layer.archive.n_rows:
            tables.insert(0, layer.archive.table)
        frame_N = torch.cat([t.frame_HN[0] for t in tables])
        row_N = torch.cat([t.row_HN[0] for t in tables])
        column_N = torch.cat([t.column_HN[0] for t in tables])
        n_columns = int(column_N.max()) + 1 if column_N.numel() else 1
        return frame_N, (row_N * n_columns + column_N).double()

    def _n_compressed(self, layer: LayerView, n_exact_rows: int) -> int:
        """Rows of the compressed tier that take the bytes of so many exact ones."""
        values_KND = layer.tensors.values_KND
        row = 2 * packed_bytes(values_KND.shape[0], 1, values_KND.shape[2], self.bits, values_KND.dtype, "row")
        return n_exact_rows * layer.tensors.bytes_per_row // row
