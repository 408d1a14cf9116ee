"""Storage of one layer's keys and values.

Shape letters: K key/value heads, N tokens, C capacity, S what a row is stored as (rotated key, value, un-rotated key),
D head dimension, R position axes, H table heads (1 or K), P rows that are means of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hermes_stream.memory.means import weighted_means
from hermes_stream.memory.rope import Rope, rotate

if TYPE_CHECKING:
    from hermes_stream.memory.arena import Arena

_ROTATED, _VALUE, _RAW = range(3)
# Rows of an empty slab, and the most by which a full one grows beyond what it must.
FIRST_ROWS = 64
_MOST_SPARE_ROWS = 4096


def most_capacity(n_rows: int) -> int:
    """The largest capacity of a slab that never had to hold more rows than these; arenas round up to whole grains."""
    n = max(FIRST_ROWS, min(2 * n_rows, n_rows + _MOST_SPARE_ROWS))
    return -(-n // FIRST_ROWS) * FIRST_ROWS


class Slab:
    """Rows of rotated keys, values and (unless dropped) un-rotated keys, with room to grow.

    Rows `[0, n_used)` are never written again, so any number of readers may hold a prefix of them. A writer that
    continues at `n_used` appends in place; one that continues earlier (a fork, or a failed forward) gets a copy.
    Not thread-safe: one thread writes. This one has a tensor of its own, head by head; see also `ArenaSlab` and
    `QuantisedSlab`.
    """

    def __init__(self, rows_SKCD: torch.Tensor, n_used: int) -> None:
        self._rows_SKCD = rows_SKCD
        self._kinds_KCD = rows_SKCD.unbind()
        self.n_used = n_used

    @staticmethod
    def empty(
        n_kv_heads: int, head_dim: int, capacity: int, *, dtype: torch.dtype, device: torch.device, keep_raw: bool
    ) -> Slab:
        n_kinds = 3 if keep_raw else 2
        return Slab(torch.zeros(n_kinds, n_kv_heads, capacity, head_dim, dtype=dtype, device=device), 0)

    @property
    def arena(self) -> Arena | None:
        """Where the rows stand, if other sessions' rows stand there too."""
        return None

    @property
    def keeps_raw(self) -> bool:
        return self._rows_SKCD.shape[0] == 3

    @property
    def keeps_rotated(self) -> bool:
        """Whether rotated keys are stored, and are remade when positions change."""
        return True

    @property
    def capacity(self) -> int:
        return self._rows_SKCD.shape[2]

    @property
    def kinds_KCD(self) -> Sequence[torch.Tensor]:
        """Rotated keys, values and, if kept, un-rotated keys: views of the storage, room to grow included."""
        return self._kinds_KCD

    @property
    def bytes_per_row(self) -> int:
        n_kinds, n_kv_heads, _, head_dim = self._rows_SKCD.shape
        return n_kinds * n_kv_heads * head_dim * self._rows_SKCD.element_size()

    @property
    def allocated_bytes(self) -> int:
        return self.capacity * self.bytes_per_row

    def keys(self, n: int) -> torch.Tensor:
        """Rotated keys of the first n rows, `[K, n, D]`, sharing storage. Only if `keeps_rotated`."""
        return self.kinds_KCD[_ROTATED][:, :n]

    def keys_at(self, position_RHN: torch.Tensor) -> torch.Tensor:
        """Rotated keys of the first N rows, `[K, N, D]`, which stand at these positions; not to be written to."""
        return self.keys(position_RHN.shape[-1])

    def values(self, n: int) -> torch.Tensor:
        """Values of the first n rows, `[K, n, D]`; not to be written to."""
        return self.kinds_KCD[_VALUE][:, :n]

    def raw_keys(self, n: int) -> torch.Tensor:
        """Un-rotated keys of the first n rows, `[K, n, D]`; not to be written to. Only if `keeps_raw`."""
        return self.kinds_KCD[_RAW][:, :n]

    def rows(self, n: int) -> torch.Tensor:
        """All that is stored of the first n rows, `[2 or 3, K, n, D]`; it outlives the slab."""
        return self._rows_SKCD[:, :, :n]

    def parts(self, n: int) -> tuple[torch.Tensor, ...]:
        """All that is stored of the first n rows, as `of_parts` takes it."""
        return (self.rows(n),)

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> Slab:
        """A slab with what `parts` gave, and no room beyond."""
        (rows_SKND,) = parts
        return Slab(rows_SKND, rows_SKND.shape[2])

    def for_tail(self, capacity: int) -> Slab:
        """An empty slab for rows that nobody will keep: in the model's precision, without un-rotated keys."""
        return self.beside(capacity, keep_raw=False)

    def beside(self, capacity: int, *, keep_raw: bool) -> Slab:
        """An empty slab of the same layer and kind of storage."""
        _, n_kv_heads, _, head_dim = self._rows_SKCD.shape
        n_kinds = 3 if keep_raw else 2
        # Rows behind `n_used` are never read, so they need no value.
        return Slab(self._rows_SKCD.new_empty(n_kinds, n_kv_heads, capacity, head_dim), 0)

    def claim(self, n_held: int, n_new: int) -> Slab:
        """Take room for rows after the first `n_held`, to be written later: this slab, or a larger copy."""
        n_after = n_held + n_new
        slab = self
        if n_after > self.capacity:
            slab = self._copy(n_held, max(n_after, min(2 * self.capacity, n_after + _MOST_SPARE_ROWS)))
        elif n_held != self.n_used:
            slab = self._copy(n_held, self.capacity)
        slab.n_used = n_after
        return slab

    def write(self, start: int, rotated_KND: torch.Tensor, value_KND: torch.Tensor, raw_KND: torch.Tensor) -> None:
        """Fill rows from `start` on, which were claimed."""
        rows = slice(start, start + rotated_KND.shape[1])
        for stored_KCD, new_KND in zip(self.kinds_KCD, (rotated_KND, value_KND, raw_KND), strict=False):
            stored_KCD[:, rows].copy_(new_KND)

    def append(self, n_held: int, rotated_KND: torch.Tensor, value_KND: torch.Tensor, raw_KND: torch.Tensor) -> Slab:
        """Write rows after the first `n_held`; returns the slab that holds them (this one, or a larger copy)."""
        slab = self.claim(n_held, rotated_KND.shape[1])
        slab.write(n_held, rotated_KND, value_KND, raw_KND)
        return slab

    def select(self, rows: torch.Tensor, capacity: int) -> Slab:
        """A new slab with the given rows first: `[n]` for all heads alike, or `[K, n]` for each head its own."""
        n = rows.shape[-1]
        slab = self.beside(max(capacity, n), keep_raw=self.keeps_raw)
        slab.n_used = n
        for old_KCD, new_KCD in zip(self.kinds_KCD, slab.kinds_KCD, strict=True):
            index = rows.to(old_KCD.device)
            if rows.dim() == 1:
                torch.index_select(old_KCD, 1, index, out=new_KCD[:, :n])
            else:
                new_KCD[:, :n] = old_KCD.gather(1, index[..., None].expand(-1, -1, old_KCD.shape[2]))
        return slab

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        """Overwrite the rotated keys of all rows. Only if `keeps_rotated`, and for one that no reader has seen yet."""
        self.kinds_KCD[_ROTATED][:, : self.n_used].copy_(rotated_KND)

    def rotate_keys(self, position_RHN: torch.Tensor, rope: Rope) -> None:
        """The same from the un-rotated keys of all rows, for the positions that they come to. Only if `keeps_raw`."""
        raw_KND = self.raw_keys(position_RHN.shape[-1])
        self.replace_keys(rotate(raw_KND, *rope.tables(position_RHN, raw_KND.dtype)))

    def mean_rows(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Means of un-rotated keys and of values, `[K, P, D]` each. Only if `keeps_raw`.

        parts: of each mean the rows and their weights, which add up to 1.
        """
        raw_KND, value_KND = self.raw_keys(self.n_used), self.values(self.n_used)
        return weighted_means(raw_KND, parts), weighted_means(value_KND, parts)

    def _copy(self, n_held: int, capacity: int) -> Slab:
        slab = self.beside(capacity, keep_raw=self.keeps_raw)
        slab.n_used = n_held
        for old_KCD, new_KCD in zip(self.kinds_KCD, slab.kinds_KCD, strict=True):
            new_KCD[:, :n_held] = old_KCD[:, :n_held]
        return slab


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """The first `n_held` rows of a slab that stores rotated keys."""

    slab: Slab
    n_held: int

    @property
    def keys(self) -> torch.Tensor:
        """Rotated keys, `[K, N, D]`."""
        return self.slab.keys(self.n_held)

    @property
    def values(self) -> torch.Tensor:
        """Values, `[K, N, D]`."""
        return self.slab.values(self.n_held)
