"""The rows of all sessions in one tensor per layer, so that one call can attend for many of them.

Shape letters: R rows, K key/value heads, D head dimension, C a slab's capacity.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence

import torch

from hermes_stream.memory.regions import Regions
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import FIRST_ROWS, Slab

# Regions begin and end at multiples of this: what dies leaves holes that others fit.
_GRAIN_ROWS = FIRST_ROWS
# A pool grows by as much as it has, but by no more rows than this at once.
LARGEST_BLOCK = 65_536


class Region:
    """Rows `[start, start + n_rows)` of a pool; they go back when nobody holds this object any more."""

    def __init__(self, pool: RowPool, start: int, n_rows: int) -> None:
        self.pool, self.start, self.n_rows = pool, start, n_rows
        # A deque takes them from whatever thread drops the last reference, in the middle of anything.
        weakref.finalize(self, pool.returned.append, (start, n_rows)).atexit = False

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Its rows, `[C, K, D]`, sharing storage until the pool grows."""
        return [x_RKD[self.start : self.start + self.n_rows] for x_RKD in self.pool.tensors]


class RowPool:
    """Tensors `[R, K, D]` that share one division into regions. Zero-filled: what is not used must not be NaN.

    It grows when it is full, to new addresses: `generation` counts how often. Not thread-safe, but regions may be
    dropped on any thread.
    """

    def __init__(
        self, n_tensors: int, n_kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        # Ordinary tensors, which can be written in inference mode and outside of it.
        with torch.inference_mode(False):
            empty = torch.zeros(0, n_kv_heads, head_dim, dtype=dtype, device=device)
        self.tensors = [empty] * n_tensors
        self.generation = 0
        self.returned: deque[tuple[int, int]] = deque()
        self._regions = Regions()

    @property
    def n_rows(self) -> int:
        return self._regions.n_rows

    @property
    def bytes_per_row(self) -> int:
        return sum(x_RKD.shape[1] * x_RKD.shape[2] * x_RKD.element_size() for x_RKD in self.tensors)

    @property
    def n_free(self) -> int:
        self._collect()
        return self._regions.n_free

    def take(self, n_rows: int) -> Region:
        """A region of at least so many rows. Grows if none is free; running out of memory leaves all as it was."""
        n_rows = -(-max(n_rows, 1) // _GRAIN_ROWS) * _GRAIN_ROWS
        self._collect()
        start = self._regions.take(n_rows)
        if start is None:
            self._grow(max(n_rows - self._regions.free_at_end, min(self.n_rows, LARGEST_BLOCK)))
            start = self._regions.take(n_rows)
            assert start is not None
        return Region(self, start, n_rows)

    def reserve(self, n_rows: int) -> None:
        """Make it at least so long, so that it need not grow later."""
        if n_rows > self.n_rows:
            self._grow(n_rows - self.n_rows)

    def _collect(self) -> None:
        while self.returned:
            self._regions.give_back(*self.returned.popleft())

    def _grow(self, n_rows: int) -> None:
        with torch.inference_mode(False):
            grown = [x_RKD.new_zeros(self.n_rows + n_rows, *x_RKD.shape[1:]) for x_RKD in self.tensors]
            for new, old in zip(grown, self.tensors, strict=True):
                new[: self.n_rows].copy_(old)
        self.tensors = grown
        self.generation += 1
        self._regions.grow(n_rows)


class Arena:
    """For each layer, rotated keys and values in one pool and un-rotated keys in another.

    Apart, because rows that nobody keeps (an answer's) and memories without un-rotated keys have none.
    """

    def __init__(self, shape: MemoryShape) -> None:
        sizes = shape.n_kv_heads, shape.head_dim, shape.dtype
        devices = [shape.device_of(index) for index in range(shape.n_layers)]
        self._held = [RowPool(2, *sizes, device) for device in devices]
        self._raw = [RowPool(1, *sizes, device) for device in devices]
        # No slab has been longer, rounded up to a power of two.
        self.longest_slab = 1

    def rows(self, layer_index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotated keys and values of all sessions in a layer, each `[R, K, D]`; until the arena grows."""
        keys_RKD, values_RKD = self._held[layer_index].tensors
        return keys_RKD, values_RKD

    def raw_rows(self, layer_index: int) -> torch.Tensor:
        """Un-rotated keys of all sessions in a layer, `[R, K, D]`; regions there are others than in `rows`."""
        (raw_RKD,) = self._raw[layer_index].tensors
        return raw_RKD

    @property
    def n_layers(self) -> int:
        return len(self._held)

    @property
    def generation(self) -> int:
        """Changes whenever `rows` have other addresses than before, and when `longest_slab` grows."""
        return sum(pool.generation for pool in self._held) + self.longest_slab.bit_length()

    @property
    def allocated_bytes(self) -> int:
        return sum(pool.n_rows * pool.bytes_per_row for pool in (*self._held, *self._raw))

    def reserve(self, n_rows: int, *, keep_raw: bool) -> None:
        """Room for so many rows per layer at once, so that addresses last."""
        for pool in (*self._held, *(self._raw if keep_raw else ())):
            pool.reserve(n_rows)

    def slab(self, layer_index: int, capacity: int, *, keep_raw: bool) -> ArenaSlab:
        """An empty slab of a layer."""
        held = self._held[layer_index].take(capacity)
        self.longest_slab = max(self.longest_slab, 1 << (held.n_rows - 1).bit_length())
        return ArenaSlab(self, layer_index, held, self._raw[layer_index].take(capacity) if keep_raw else None)


class ArenaSlab(Slab):
    """A slab whose rows stand in an arena, token by token. `start` is the first one's number there.

    What `keys`, `values` and `raw_keys` return does not keep the rows: only the slab does.
    """

    def __init__(self, arena: Arena, layer_index: int, held: Region, raw: Region | None, n_used: int = 0) -> None:
        self._arena = arena
        self.n_used = n_used
        self._layer_index = layer_index
        self._held, self._raw = held, raw

    @property
    def arena(self) -> Arena:
        return self._arena

    @property
    def start(self) -> int:
        return self._held.start

    @property
    def raw_start(self) -> int:
        """The first row's number in the arena's un-rotated keys."""
        assert self._raw is not None
        return self._raw.start

    @property
    def keeps_raw(self) -> bool:
        return self._raw is not None

    @property
    def capacity(self) -> int:
        return self._held.n_rows

    @property
    def kinds_KCD(self) -> Sequence[torch.Tensor]:
        return [rows_CKD.transpose(0, 1) for region in self._regions for rows_CKD in region.tensors]

    @property
    def bytes_per_row(self) -> int:
        return sum(region.pool.bytes_per_row for region in self._regions)

    def rows(self, n: int) -> torch.Tensor:
        """All that is stored of the first n rows, `[2 or 3, K, n, D]`: a copy, which outlives the slab."""
        return torch.stack([rows_KCD[:, :n] for rows_KCD in self.kinds_KCD])

    @property
    def _regions(self) -> tuple[Region, ...]:
        return (self._held,) if self._raw is None else (self._held, self._raw)

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> Slab:
        (rows_SKND,) = parts
        n_kinds, _, n, _ = rows_SKND.shape
        # Where two kinds are stored, the third is not looked at.
        return self.beside(n, keep_raw=n_kinds == 3).append(0, rows_SKND[0], rows_SKND[1], rows_SKND[-1])

    def beside(self, capacity: int, *, keep_raw: bool) -> ArenaSlab:
        return self._arena.slab(self._layer_index, capacity, keep_raw=keep_raw)
