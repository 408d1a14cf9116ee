"""Tiered: the newest frames exact, the past before them in few bits and spread over time.

How it was found: docs/house-policy.md.

Shape letters: N rows that may be compressed, C rows that are.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field

from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.packed_rows import Bits, packed_bytes
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, ViewSpec
from hermes_stream.policies.part import as_number

# Multiples of the golden ratio, without their whole parts, lie evenly however many they are. The two others do the same
# for cells in two dimensions: powers of the inverse of the plastic number, x^3 = x + 1.
_BY_FRAME = 0.6180339887498949
_BY_ROW, _BY_COLUMN = 0.7548776662466927, 0.5698402909980532


class Tiered(Policy):
    """The newest frames exact, the past in few bits: as many rows of it, spread over time, as the bytes hold.

    Needs: nothing. Budget: the bytes of that many exact rows of each layer, both tiers together; the same rows in all
    layers. Until it is full everything is exact.

    bits: of a compressed number; un-rotated keys and values are compressed once, row by row, each row of a head with a
    minimum and a scale of its own. recent: frames that stay exact; at most half of the budget. near: the share of the
    compressed rows that are simply the newest; the others are spread evenly over all that is older.

    Spread: every token has a number for life, between 0 and 1, and these lie evenly over frames and cells; the lowest
    stay. So the past is thinned as evenly after an hour as after a minute, whenever rows went. Questions and new frames
    see both tiers whole, compressed rows unpacked for them: nothing is chosen, and no pass comes before the answer's.
    Compressed rows stand where they stood, as far back as they are.
    """

    name: ClassVar[str] = "tiered"
    is_per_frame: ClassVar[bool] = True
    recalls_at: ClassVar[Literal["questions", "always"]] = "always"

    bits: Annotated[Bits, BeforeValidator(as_number)] = 4
    recent: int = Field(default=1, ge=0)
    near: float = Field(default=0.25, ge=0, le=1)

    @property
    def archive(self) -> ArchiveSettings:
        return ArchiveSettings(bits=self.bits, ranges="row", resident=True, host_bytes=2**62)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(recalls=True, asks_first=False)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        layer, budget = view.layers[0], self.budget_tokens or 0  # the same rows in every layer
        n_archived = layer.archive.n_rows
        if not n_archived and layer.n_rows <= budget:
            return Plan.keep_all(), state
        n_exact = min(self.recent * view.tokens_per_frame, budget // 2)
        n_leaving = max(layer.n_rows - n_exact, 0)
        past = layer.table.slice(0, n_leaving)
        chosen_C = self._choose(
            layer.archive.table.concat(past) if n_archived else past,
            (budget - n_exact) * layer.tensors.bytes_per_row // self._bytes_of_compressed_row(layer),
        )
        plan = LayerPlan(
            torch.arange(n_leaving, layer.n_rows, device=chosen_C.device),
            archive=chosen_C[chosen_C >= n_archived] - n_archived,
            keep_archive=chosen_C[chosen_C < n_archived],
        )
        return Plan((plan,) * view.n_layers), state

    def _choose(self, table: TokenTable, n_compressed: int) -> torch.Tensor:
        """The rows that are compressed, of all that are not exact."""
        n_near = min(int(self.near * n_compressed), table.n_tokens)
        place_N = place_in_order(table)
        place_N[table.n_tokens - n_near :] = -1
        return place_N.argsort(stable=True)[:n_compressed].sort().values

    def _bytes_of_compressed_row(self, layer: LayerView) -> int:
        values_KND = layer.tensors.values_KND
        n_heads, _, head_dim = values_KND.shape
        return 2 * packed_bytes(n_heads, 1, head_dim, self.bits, values_KND.dtype, "row")


def place_in_order(table: TokenTable) -> torch.Tensor:
    """A number in [0, 1) for each row of one table head, float64 `[N]`: those below any limit lie evenly.

    Rows without a cell (text between frames) have that of their frame.
    """
    frame_N, row_N, column_N = table.frame_HN[0].double(), table.row_HN[0].double(), table.column_HN[0].double()
    return (frame_N * _BY_FRAME + row_N * _BY_ROW + column_N * _BY_COLUMN) % 1
