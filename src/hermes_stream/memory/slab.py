"""Storage of one layer's keys and values in the precision of the model.

Shape letters: K key/value heads, N tokens, D head dimension, R position axes, H table heads (1 or K).
"""

from __future__ import annotations

import torch

from hermes_stream.memory.row_store import grown_capacity

_ROTATED, _VALUE, _RAW = range(3)


class Slab:
    """As `RowStore` says: rotated keys, values and (unless dropped) un-rotated keys. What is read shares storage."""

    def __init__(self, rows_SKCD: torch.Tensor, n_used: int) -> None:
        self._rows_SKCD = rows_SKCD
        self.n_used = n_used

    @staticmethod
    def empty(
        n_kv_heads: int, head_dim: int, capacity: int, *, dtype: torch.dtype, device: torch.device, keep_raw: bool
    ) -> Slab:
        n_kinds = 3 if keep_raw else 2
        return Slab(torch.zeros(n_kinds, n_kv_heads, capacity, head_dim, dtype=dtype, device=device), 0)

    @property
    def keeps_raw(self) -> bool:
        return self._rows_SKCD.shape[0] == 3

    @property
    def keeps_rotated(self) -> bool:
        return True

    @property
    def capacity(self) -> int:
        return self._rows_SKCD.shape[2]

    @property
    def bytes_per_row(self) -> int:
        n_kinds, n_kv_heads, _, head_dim = self._rows_SKCD.shape
        return n_kinds * n_kv_heads * head_dim * self._rows_SKCD.element_size()

    @property
    def allocated_bytes(self) -> int:
        return self._rows_SKCD.numel() * self._rows_SKCD.element_size()

    def keys(self, position_RHN: torch.Tensor) -> torch.Tensor:
        return self._rows_SKCD[_ROTATED, :, : position_RHN.shape[-1]]

    def values(self, n: int) -> torch.Tensor:
        return self._rows_SKCD[_VALUE, :, :n]

    def raw_keys(self, n: int) -> torch.Tensor:
        return self._rows_SKCD[_RAW, :, :n]

    def parts(self, n: int) -> tuple[torch.Tensor, ...]:
        return (self._rows_SKCD[:, :, :n],)

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> Slab:
        (rows_SKND,) = parts
        return Slab(rows_SKND, rows_SKND.shape[2])

    def append(self, n_held: int, rotated_KND: torch.Tensor, value_KND: torch.Tensor, raw_KND: torch.Tensor) -> Slab:
        n_after = n_held + rotated_KND.shape[1]
        slab = self
        if n_held != self.n_used or n_after > self.capacity:
            slab = self._copy(n_held, grown_capacity(n_after, self.capacity))
        rows_SKND = slab._rows_SKCD[:, :, n_held:n_after]
        rows_SKND[_ROTATED].copy_(rotated_KND)
        rows_SKND[_VALUE].copy_(value_KND)
        if slab.keeps_raw:
            rows_SKND[_RAW].copy_(raw_KND)
        slab.n_used = n_after
        return slab

    def select(self, rows: torch.Tensor, capacity: int) -> Slab:
        rows = rows.to(self._rows_SKCD.device)
        n_kinds, n_kv_heads, _, head_dim = self._rows_SKCD.shape
        n = rows.shape[-1]
        # Rows behind `n_used` are never read, so they need no value.
        new_SKCD = self._rows_SKCD.new_empty(n_kinds, n_kv_heads, max(capacity, n), head_dim)
        if rows.dim() == 1:
            torch.index_select(self._rows_SKCD, 2, rows, out=new_SKCD[:, :, :n])
        else:
            index_SKND = rows[None, :, :, None].expand(n_kinds, -1, -1, head_dim)
            new_SKCD[:, :, :n] = self._rows_SKCD.gather(2, index_SKND)
        return Slab(new_SKCD, n)

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        self._rows_SKCD[_ROTATED, :, : self.n_used].copy_(rotated_KND)

    def _copy(self, n_held: int, capacity: int) -> Slab:
        n_kinds, n_kv_heads, _, head_dim = self._rows_SKCD.shape
        new_SKCD = self._rows_SKCD.new_empty(n_kinds, n_kv_heads, capacity, head_dim)
        new_SKCD[:, :, :n_held] = self._rows_SKCD[:, :, :n_held]
        return Slab(new_SKCD, n_held)
