"""Keys and values that belong to one question alone.

Shape letters: H query heads, K key/value heads, T new tokens, D head dimension.
"""

from __future__ import annotations

import torch

from hermes_stream.engine.recall import Chooser, Settled
from hermes_stream.memory.recall import SeenRows
from hermes_stream.memory.slab import Slab, Span
from hermes_stream.memory.version import MemoryVersion

# Room for the answer's tokens beside the question's, so that a decode step seldom copies.
_SPARE_ROWS = 32


class Tail:
    """On top of a pinned version; grows with the answer, dies with it.

    n_rows: rows of forwards that are over. What a forward writes stands behind them, and stays once whoever asked for
    the forward adds its rows here: one that failed can be run again.
    """

    def __init__(self, base: MemoryVersion, sees: Chooser | Settled | None = None) -> None:
        """sees: what the tail attends to, where that is not the memory itself."""
        self.base = base
        self.sees = sees
        self.next_position = base.text_position
        self.n_rows = 0
        self._slabs: list[Slab | None] = [None] * len(base.layers)

    def span(self, layer_index: int, n_new: int) -> Span:
        """Its rows in this layer with room for new ones at the end."""
        return Span(self._room(layer_index, n_new), self.n_rows + n_new)

    def reserve(self, n_new: int) -> list[Slab]:
        """Room for rows that somebody else will write: the slab of each layer, whose rows from `n_rows` on are free."""
        return [self._room(index, n_new) for index in range(len(self._slabs))]

    def held(self, layer_index: int, query_HTD: torch.Tensor, rotated_query_HTD: torch.Tensor) -> SeenRows:
        """What tokens with these queries attend to, besides the tail."""
        if isinstance(self.sees, Chooser):
            return self.sees.seen(layer_index, query_HTD, rotated_query_HTD)
        if isinstance(self.sees, Settled):
            return self.sees.seen(layer_index)
        layer = self.base.layers[layer_index]
        return SeenRows(layer.keys, layer.values)

    def _room(self, layer_index: int, n_new: int) -> Slab:
        slab, n_after = self._slabs[layer_index], self.n_rows + n_new
        if slab is None:
            slab = self.base.layers[layer_index].slab.for_tail(n_after + _SPARE_ROWS)
        elif n_after > slab.capacity:
            slab = slab.claim(self.n_rows, n_new)
        self._slabs[layer_index] = slab
        return slab
