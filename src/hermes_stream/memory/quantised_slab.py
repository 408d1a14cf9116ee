"""Storage of one layer's keys and values in 8 bits.

Un-rotated keys and values are stored, and nothing else; rotated keys are made when they are read. So a row is quantised
once, when it enters: neither eviction nor any number of placements rounds it again.

Keys are stored as what they differ by from an offset, one number a channel for the whole stream: the median over the
prefix. Keys of one head share most of their size in a few channels (in Qwen2 the bias of the projection, hundreds of
times what differs between tokens in the first and last layer), and one scale for all channels of a row would leave
little of the rest. Rotation would spread that over positions, so this needs un-rotated keys, as in KVQuant
(arXiv:2401.18079), which quantises before the rotation, too.

Shape letters: S what is stored (un-rotated key, value), K key/value heads, N tokens, C capacity, D head dimension,
R position axes, H table heads (1 or K).
"""

from __future__ import annotations

import torch

from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.row_store import grown_capacity

_RAW, _VALUE = range(2)
_MOST = 127


def quantise(x_KND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes int8 `[K, N, D]` and scales float16 `[K, N]`, symmetric: x = code · scale, off by half a scale at most.

    What is not finite, or larger than a scale can be (8 million), gives a row that is not finite.
    """
    exact_KND = x_KND.to(torch.promote_types(x_KND.dtype, torch.float32))
    # Below the smallest normal number float16 is too coarse to be a scale.
    tiny = torch.finfo(torch.float16).smallest_normal
    scale_KN = (exact_KND.abs().amax(dim=-1) / _MOST).clamp(min=tiny).half()
    code_KND = (exact_KND / scale_KN[..., None]).round_().clamp_(-_MOST, _MOST)
    return code_KND.to(torch.int8), scale_KN


def dequantise(code_KND: torch.Tensor, scale_KN: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The numbers that codes and scales stand for, `[K, N, D]`; rounded once, to dtype."""
    exact = torch.promote_types(dtype, torch.float32)
    return code_KND.to(exact).mul_(scale_KN[..., None].to(exact)).to(dtype)


class QuantisedSlab:
    """As `RowStore` says. A row takes `2 · K · (D + 2)` bytes: int8 codes, and a float16 scale per head.

    codes_SKCD: int8. scales_SKC: float16. offset_KD: of the keys, float32 or float64; shared by all slabs of a layer.
    dtype: of what is read.
    """

    def __init__(
        self,
        codes_SKCD: torch.Tensor,
        scales_SKC: torch.Tensor,
        offset_KD: torch.Tensor,
        n_used: int,
        *,
        dtype: torch.dtype,
        rope: Rope,
    ) -> None:
        self._codes_SKCD, self._scales_SKC, self._offset_KD = codes_SKCD, scales_SKC, offset_KD
        self.n_used = n_used
        self._dtype, self._rope = dtype, rope

    @staticmethod
    def empty(
        n_kv_heads: int, head_dim: int, capacity: int, *, dtype: torch.dtype, device: torch.device, rope: Rope
    ) -> QuantisedSlab:
        return QuantisedSlab(
            torch.zeros(2, n_kv_heads, capacity, head_dim, dtype=torch.int8, device=device),
            torch.zeros(2, n_kv_heads, capacity, dtype=torch.float16, device=device),
            torch.zeros(n_kv_heads, head_dim, dtype=torch.promote_types(dtype, torch.float32), device=device),
            0,
            dtype=dtype,
            rope=rope,
        )

    @property
    def keeps_raw(self) -> bool:
        return True

    @property
    def keeps_rotated(self) -> bool:
        return False

    @property
    def capacity(self) -> int:
        return self._codes_SKCD.shape[2]

    @property
    def bytes_per_row(self) -> int:
        n_kinds, n_kv_heads, _, head_dim = self._codes_SKCD.shape
        return n_kinds * n_kv_heads * (head_dim + self._scales_SKC.element_size())

    @property
    def allocated_bytes(self) -> int:
        return self.capacity * self.bytes_per_row + self._offset_KD.numel() * self._offset_KD.element_size()

    def keys(self, position_RHN: torch.Tensor) -> torch.Tensor:
        cos, sin = self._rope.tables(position_RHN, self._dtype)
        return rotate(self.raw_keys(position_RHN.shape[-1]), cos, sin)

    def values(self, n: int) -> torch.Tensor:
        return dequantise(self._codes_SKCD[_VALUE, :, :n], self._scales_SKC[_VALUE, :, :n], self._dtype)

    def raw_keys(self, n: int) -> torch.Tensor:
        exact = self._offset_KD.dtype
        centred_KND = dequantise(self._codes_SKCD[_RAW, :, :n], self._scales_SKC[_RAW, :, :n], exact)
        return centred_KND.add_(self._offset_KD[:, None]).to(self._dtype)

    def parts(self, n: int) -> tuple[torch.Tensor, ...]:
        return self._codes_SKCD[:, :, :n], self._scales_SKC[:, :, :n], self._offset_KD

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> QuantisedSlab:
        codes_SKND, scales_SKN, offset_KD = parts
        return self._like(codes_SKND, scales_SKN, codes_SKND.shape[2], offset_KD)

    def append(
        self,
        n_held: int,
        rotated_KND: torch.Tensor,  # noqa: ARG002
        value_KND: torch.Tensor,
        raw_KND: torch.Tensor,
    ) -> QuantisedSlab:
        n_after = n_held + raw_KND.shape[1]
        slab = self
        if n_held != self.n_used or n_after > self.capacity:
            slab = self._copy(n_held, grown_capacity(n_after, self.capacity))
        raw_KND = raw_KND.to(slab._offset_KD.dtype)
        if n_held == 0:
            slab._offset_KD = raw_KND.median(dim=1).values
        for kind, x_KND in ((_RAW, raw_KND - slab._offset_KD[:, None]), (_VALUE, value_KND)):
            code_KND, scale_KN = quantise(x_KND)
            slab._codes_SKCD[kind, :, n_held:n_after].copy_(code_KND)
            slab._scales_SKC[kind, :, n_held:n_after].copy_(scale_KN)
        slab.n_used = n_after
        return slab

    def select(self, rows: torch.Tensor, capacity: int) -> QuantisedSlab:
        rows = rows.to(self._codes_SKCD.device)
        n_kinds, n_kv_heads, _, head_dim = self._codes_SKCD.shape
        n = rows.shape[-1]
        new = self._with_room(max(capacity, n), n)
        row_SKN = rows.expand(n_kinds, n_kv_heads, n)
        torch.gather(self._scales_SKC, 2, row_SKN, out=new._scales_SKC[:, :, :n])
        if rows.dim() == 1:
            torch.index_select(self._codes_SKCD, 2, rows, out=new._codes_SKCD[:, :, :n])
        else:
            index_SKND = row_SKN[..., None].expand(-1, -1, -1, head_dim)
            torch.gather(self._codes_SKCD, 2, index_SKND, out=new._codes_SKCD[:, :, :n])
        return new

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        raise NotImplementedError("no rotated keys are stored")

    def _copy(self, n_held: int, capacity: int) -> QuantisedSlab:
        new = self._with_room(capacity, n_held)
        new._codes_SKCD[:, :, :n_held] = self._codes_SKCD[:, :, :n_held]
        new._scales_SKC[:, :, :n_held] = self._scales_SKC[:, :, :n_held]
        return new

    def _with_room(self, capacity: int, n_used: int) -> QuantisedSlab:
        """A slab whose rows have yet to be written. Rows behind `n_used` are never read, so they need no value."""
        n_kinds, n_kv_heads, _, head_dim = self._codes_SKCD.shape
        codes_SKCD = self._codes_SKCD.new_empty(n_kinds, n_kv_heads, capacity, head_dim)
        return self._like(codes_SKCD, self._scales_SKC.new_empty(codes_SKCD.shape[:-1]), n_used, self._offset_KD)

    def _like(
        self, codes_SKCD: torch.Tensor, scales_SKC: torch.Tensor, n_used: int, offset_KD: torch.Tensor
    ) -> QuantisedSlab:
        return QuantisedSlab(codes_SKCD, scales_SKC, offset_KD, n_used, dtype=self._dtype, rope=self._rope)
