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
    frames_seen: int
    grids_seen: int
    time_seconds: float
    next_identity: int
    n_seen: int
    features: FeatureBank


class PendingAppend:
    """Rows on their way into a memory, layer by layer, during one forward.

    `write` stores a layer's keys and values behind the rows of the base version and returns everything up to them;
    nobody else sees the new rows until `KVMemory.commit`. Dropping the object instead leaves the memory as it was.
    """

    def __init__(self, base: MemoryVersion, rows: NewRows) -> None:
        self.base = base
        self.rows = rows
        self._layers: list[LayerMemory | None] = [None] * len(base.layers)
        self._tables: dict[int, TokenTable] = {}

    def write(
        self, layer_index: int, rotated_KTD: torch.Tensor, value_KTD: torch.Tensor, raw_KTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns rotated keys and values `[K, N + T, D]`, the new rows last."""
        layer = self.base.layers[layer_index]
        slab = layer.slab.append(layer.n_held, rotated_KTD, value_KTD, raw_KTD)
        # Layers that hold the same tokens share one table.
        if id(layer.table) not in self._tables:
            self._tables[id(layer.table)] = layer.table.concat(self.rows.table)
        self._layers[layer_index] = replace(layer, slab=slab, table=self._tables[id(layer.table)])
        return self.read(layer_index)

    def read(self, layer_index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated keys and values of a layer that was written, new rows included."""
        layer = self._layers[layer_index]
        if layer is None:
            raise InvariantError(f"layer {layer_index} was read before it was written")
        return layer.keys, layer.values

    def give_up(self) -> None:
        """Leave the rows of a forward that failed to the next one, which else would have to copy the slabs."""
        n_new = self.rows.table.n_tokens
        for before, after in zip(self.base.layers, self._layers, strict=True):
            # Nobody else can have seen them, and nobody has gone on behind them.
            if after is not None and after.slab is before.slab and after.slab.n_used == before.n_held + n_new:
                before.slab.n_used = before.n_held
        self._layers = [None] * len(self._layers)

    @property
    def text_position(self) -> int:
        """Where text goes that follows these rows."""
        return self.rows.grid_end if self.base.shape.text_overlaps_times else self.rows.next_position

    def finished_layers(self) -> tuple[LayerMemory, ...]:
        """The base version's layers with the new rows in them. Raises InvariantError if one was not written."""
        layers = tuple(layer for layer in self._layers if layer is not None)
        if len(layers) != len(self._layers):
            raise InvariantError("commit of an append that has not reached every layer")
        return layers
