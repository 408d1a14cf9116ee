"""Rows on their way into a memory.

Shape letters: K key/value heads, N held tokens, T new tokens, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hermes_stream.errors import InvariantError
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import LayerMemory, MemoryVersion


@dataclass(frozen=True, slots=True, eq=False)
class NewRows:
    """Tokens about to be committed: their columns, and what the memory will say once they are in.

    features: what waits outside the text model then.
    """

    table: TokenTable
    next_position: int
    grid_end: int
    newest_time: int
    time_start: int
    frames_seen: int
    grids_seen: int
    time_seconds: float
    next_identity: int
    n_seen: int
    n_text: int
    features: FeatureBank


class PendingAppend:
    """Rows on their way into a memory, layer by layer, during one forward.

    A layer's keys and values go behind the rows of the base version: by `write`, or to where `layer` says by whoever
    writes many appends at once. Nobody else sees the new rows until `KVMemory.commit`. Dropping the object instead
    leaves the memory as it was.
    """

    def __init__(self, base: MemoryVersion, rows: NewRows) -> None:
        self.base = base
        self.rows = rows
        self._layers: list[LayerMemory | None] = [None] * len(base.layers)
        self._tables: dict[int, TokenTable] = {}
        self._n_written = 0

    def layer(self, layer_index: int) -> LayerMemory:
        """The layer with the new rows at its end, which are claimed by the first call and not written by any."""
        layer = self._layers[layer_index]
        if layer is None:
            base = self.base.layers[layer_index]
            slab = base.slab.claim(base.n_held, self.rows.table.n_tokens)
            # Layers that hold the same tokens share one table.
            if id(base.table) not in self._tables:
                self._tables[id(base.table)] = base.table.concat(self.rows.table)
            layer = replace(base, slab=slab, table=self._tables[id(base.table)])
            self._layers[layer_index] = layer
        return layer

    def write(
        self, layer_index: int, rotated_KTD: torch.Tensor, value_KTD: torch.Tensor, raw_KTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns rotated keys and values `[K, N + T, D]`, the new rows last."""
        layer = self.layer(layer_index)
        layer.slab.write(layer.n_held - self.rows.table.n_tokens, rotated_KTD, value_KTD, raw_KTD)
        self.mark_written(layer_index)
        return layer.keys, layer.values

    def mark_written(self, layer_index: int) -> None:
        """Say that a layer's rows are there; layers come in order."""
        self._n_written = layer_index + 1

    def give_up(self) -> None:
        """Leave the rows of a forward that failed to the next one, which else would have to copy the slabs."""
        n_new = self.rows.table.n_tokens
        for before, after in zip(self.base.layers, self._layers, strict=True):
            # Nobody else can have seen them, and nobody has gone on behind them.
            if after is not None and after.slab is before.slab and after.slab.n_used == before.n_held + n_new:
                before.slab.n_used = before.n_held
        self._layers = [None] * len(self._layers)
        self._n_written = 0

    @property
    def text_position(self) -> int:
        """Where text goes that follows these rows."""
        return self.rows.grid_end if self.base.shape.text_overlaps_times else self.rows.next_position

    def finished_layers(self) -> tuple[LayerMemory, ...]:
        """The base version's layers with the new rows in them. Raises InvariantError if one was not written."""
        if self._n_written != len(self._layers):
            raise InvariantError("commit of an append that has not reached every layer")
        return tuple(self.layer(index) for index in range(len(self._layers)))
