"""Storage of one layer's keys and values in 8 bits.

Un-rotated keys and values are stored, and nothing else; rotated keys are made when they are read. So a row is quantised
once, when it enters: neither eviction nor any number of placements rounds it again.

Keys are stored as what they differ by from an offset, one number a channel for the whole stream: the median over the
prefix. Keys of one head share most of their size in a few channels (in Qwen2 the bias of the projection, hundreds of
times what differs between tokens in the first and last layer), and one scale for all channels of a row would leave
little of the rest. Rotation would spread that over positions, so this needs un-rotated keys, as in KVQuant
(arXiv:2401.18079), which quantises before the rotation, too.

Shape letters: K key/value heads, N tokens, C capacity, D head dimension, X head dimension or 1, R position axes,
H table heads (1 or K).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.slab import Slab

_RAW, _VALUE, _SCALES = range(3)
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


class QuantisedSlab(Slab):
    """A slab whose rows take `2 · K · (D + 2)` bytes: int8 codes, and a float16 scale for each head.

    kinds_KCX: codes of un-rotated keys and of values `[K, C, D]`, then their scales `[K, C, 1]`. offset_KD: of the
    keys, float32 or float64; shared by all slabs of a layer. dtype: of what is read, which is made for the reader.
    """

    def __init__(
        self,
        kinds_KCX: Sequence[torch.Tensor],
        offset_KD: torch.Tensor,
        n_used: int,
        *,
        dtype: torch.dtype,
        rope: Rope,
    ) -> None:
        self._kinds_KCX, self._offset_KD = kinds_KCX, offset_KD
        self.n_used = n_used
        self._dtype, self._rope = dtype, rope

    @staticmethod
    def empty_of(
        n_kv_heads: int, head_dim: int, capacity: int, *, dtype: torch.dtype, device: torch.device, rope: Rope
    ) -> QuantisedSlab:
        exact = torch.promote_types(dtype, torch.float32)
        offset_KD = torch.zeros(n_kv_heads, head_dim, dtype=exact, device=device)
        return QuantisedSlab(_kinds(offset_KD, capacity), offset_KD, 0, dtype=dtype, rope=rope)

    @property
    def keeps_raw(self) -> bool:
        return True

    @property
    def keeps_rotated(self) -> bool:
        return False

    @property
    def capacity(self) -> int:
        return self._kinds_KCX[0].shape[1]

    @property
    def kinds_KCD(self) -> Sequence[torch.Tensor]:
        return self._kinds_KCX

    @property
    def bytes_per_row(self) -> int:
        return sum(x_KCX.shape[0] * x_KCX.shape[2] * x_KCX.element_size() for x_KCX in self._kinds_KCX)

    @property
    def allocated_bytes(self) -> int:
        return self.capacity * self.bytes_per_row + self._offset_KD.numel() * self._offset_KD.element_size()

    def keys(self, n: int) -> torch.Tensor:
        raise NotImplementedError("rotated keys are not stored; keys_at makes them")

    def keys_at(self, position_RHN: torch.Tensor) -> torch.Tensor:
        cos, sin = self._rope.tables(position_RHN, self._dtype)
        return rotate(self.raw_keys(position_RHN.shape[-1]), cos, sin)

    def values(self, n: int) -> torch.Tensor:
        return self._read(_VALUE, n, self._dtype)

    def raw_keys(self, n: int) -> torch.Tensor:
        return self._read(_RAW, n, self._offset_KD.dtype).add_(self._offset_KD[:, None]).to(self._dtype)

    def parts(self, n: int) -> tuple[torch.Tensor, ...]:
        return (*(x_KCX[:, :n] for x_KCX in self._kinds_KCX), self._offset_KD)

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> QuantisedSlab:
        *kinds_KNX, offset_KD = parts
        return QuantisedSlab(kinds_KNX, offset_KD, kinds_KNX[0].shape[1], dtype=self._dtype, rope=self._rope)

    def for_tail(self, capacity: int) -> Slab:
        sizes = (*self._offset_KD.shape, capacity)
        return Slab.empty(*sizes, dtype=self._dtype, device=self._offset_KD.device, keep_raw=False)

    def beside(self, capacity: int, *, keep_raw: bool) -> QuantisedSlab:  # noqa: ARG002
        kinds_KCX = _kinds(self._offset_KD, capacity)
        return QuantisedSlab(kinds_KCX, self._offset_KD, 0, dtype=self._dtype, rope=self._rope)

    def write(
        self,
        start: int,
        rotated_KND: torch.Tensor,  # noqa: ARG002
        value_KND: torch.Tensor,
        raw_KND: torch.Tensor,
    ) -> None:
        rows = slice(start, start + raw_KND.shape[1])
        raw_KND = raw_KND.to(self._offset_KD.dtype)
        if start == 0:
            self._offset_KD = raw_KND.median(dim=1).values
        for kind, x_KND in ((_RAW, raw_KND - self._offset_KD[:, None]), (_VALUE, value_KND)):
            code_KND, scale_KN = quantise(x_KND)
            self._kinds_KCX[kind][:, rows].copy_(code_KND)
            self._kinds_KCX[_SCALES + kind][:, rows].copy_(scale_KN[..., None])

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        raise NotImplementedError("rotated keys are not stored")

    def _read(self, kind: int, n: int, dtype: torch.dtype) -> torch.Tensor:
        codes, scales = self._kinds_KCX[kind], self._kinds_KCX[_SCALES + kind]
        return dequantise(codes[:, :n], scales[:, :n, 0], dtype)


def _kinds(offset_KD: torch.Tensor, capacity: int) -> list[torch.Tensor]:
    """Rows that have yet to be written: those behind `n_used` are never read, so they need no value."""
    n_kv_heads, head_dim = offset_KD.shape
    return [
        *(offset_KD.new_empty(n_kv_heads, capacity, head_dim, dtype=torch.int8) for _ in range(_SCALES)),
        *(offset_KD.new_empty(n_kv_heads, capacity, 1, dtype=torch.float16) for _ in range(_SCALES)),
    ]
