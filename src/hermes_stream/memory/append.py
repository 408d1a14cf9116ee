"""Rows on their way into a memory.

Shape letters: K key/value heads, N held tokens, T new tokens, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hermes_stream.errors import InvariantError
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.slab import Slab, Span
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion


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

    A layer's keys and values go behind the rows of the base version: by `write`, or where `span` says by whoever writes
    many appends at once. Nobody else sees the new rows until `KVMemory.commit`. Dropping the object instead leaves the
    memory as it was.
    """

    def __init__(self, base: MemoryVersion, rows: NewRows) -> None:
        self.base = base
        self.rows = rows
        self._spans: list[Span | None] = [None] * len(base.layers)
        self._n_written = 0

    def span(self, layer_index: int) -> Span:
        """Where a layer's rows stand, the new ones last; these are claimed by the first call."""
        span = self._spans[layer_index]
        if span is None:
            layer, n_new = self.base.layers[layer_index], self.rows.table.n_tokens
            span = Span(layer.slab.claim(layer.n_held, n_new), layer.n_held + n_new)
            self._spans[layer_index] = span
        return span

    def write(
        self, layer_index: int, rotated_KTD: torch.Tensor, value_KTD: torch.Tensor, raw_KTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns rotated keys and values `[K, N + T, D]`, the new rows last."""
        span = self.span(layer_index)
        span.write(rotated_KTD, value_KTD, raw_KTD)
        self.mark_written(layer_index)
        return span.keys_KND, span.values_KND

    def mark_written(self, layer_index: int) -> None:
        """Say that a layer's span has its rows; layers come in order."""
        self._n_written = layer_index + 1

    @property
    def text_position(self) -> int:
        """Where text goes that follows these rows."""
        return self.rows.grid_end if self.base.shape.text_overlaps_times else self.rows.next_position

    def finished_slabs(self) -> list[Slab]:
        if self._n_written != len(self._spans):
            raise InvariantError("commit of an append that has not reached every layer")
        return [self.span(index).slab for index in range(len(self._spans))]
