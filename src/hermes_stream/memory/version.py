"""A memory at one moment: immutable, shared by whoever holds a reference.

Shape letters: K key/value heads, H heads with rows of their own (1 when all hold the same), N held tokens, D head
dimension.

Rows of a layer: `[0, n_prefix)` prefix, never evicted and never moved; `[n_prefix, n_held)` everything else, in time
order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hermes_stream.memory.features import FrameFeatures
from hermes_stream.memory.slab import Slab
from hermes_stream.memory.token_table import TokenTable


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """What a model asks of its memory. max_positions: positions `[0, max_positions)` exist."""

    n_layers: int
    n_kv_heads: int
    head_dim: int
    n_axes: int
    max_positions: int
    dtype: torch.dtype
    device: torch.device

    def bytes_per_token(self, *, keep_raw: bool = True) -> int:
        """Bytes of one token over all layers: rotated key, value, and un-rotated key if kept."""
        element = torch.empty(0, dtype=self.dtype).element_size()
        return (3 if keep_raw else 2) * self.n_layers * self.n_kv_heads * self.head_dim * element


@dataclass(frozen=True, slots=True, eq=False)
class LayerMemory:
    """One layer of one version. n_dropped_H: vision tokens seen that no row stands for any more."""

    slab: Slab
    table: TokenTable
    n_dropped_H: torch.Tensor

    @property
    def n_held(self) -> int:
        return self.table.n_tokens

    @property
    def keys(self) -> torch.Tensor:
        """Rotated keys, `[K, N, D]`."""
        return self.slab.keys(self.n_held)

    @property
    def values(self) -> torch.Tensor:
        """Values, `[K, N, D]`."""
        return self.slab.values(self.n_held)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryVersion:
    """The held tokens of all layers at one moment. Holding a reference is all that pinning takes.

    next_position: where the next token goes, one clock for all layers.
    features: encoded frames that never went through the text model (policies that ingest features).
    n_seen: vision tokens committed since the stream began. frames_seen, time_seconds: of the newest committed frame.
    """

    layers: tuple[LayerMemory, ...]
    n_prefix: int
    next_position: int
    next_identity: int
    n_seen: int
    frames_seen: int
    time_seconds: float
    number: int
    features: tuple[FrameFeatures, ...] = ()

    @property
    def held_tokens(self) -> tuple[int, ...]:
        """Vision, text and summary tokens held by each layer, prefix apart."""
        return tuple(layer.n_held - self.n_prefix for layer in self.layers)

    @property
    def n_bytes(self) -> int:
        """Bytes of the held rows, prefix included, all layers, truth and working copy, and of held features."""
        rows = sum(layer.n_held * layer.slab.bytes_per_row for layer in self.layers)
        return rows + sum(frame.n_bytes for frame in self.features)

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the slabs behind this version, room to grow included."""
        return sum(layer.slab.allocated_bytes for layer in self.layers)

    def prefix_only(self) -> MemoryVersion:
        """The same stream as if only its prefix were held; shares storage."""
        layers = tuple(replace(layer, table=layer.table.slice(0, self.n_prefix)) for layer in self.layers)
        return replace(self, layers=layers, next_position=self.n_prefix)
