"""Keys or values of archived rows, exact or in 8 or 4 bits, in host memory or in a file.

Quantisation is asymmetric and per channel, as in StreamingTOM's store: scale = (max - min) / (2^bits - 1) over the rows
that are packed together, minimum and scale in float16. Rows are quantised once, when they are archived.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch

Bits = Literal[16, 8, 4]
_FLOAT16_MOST = torch.finfo(torch.float16).max


class StoredTensor(Protocol):
    """A tensor that can be had: in host memory, or read from a file."""

    @property
    def n_bytes(self) -> int: ...

    @property
    def is_on_disk(self) -> bool: ...

    def load(self) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class HostTensor:
    """A tensor in host memory."""

    tensor: torch.Tensor

    @property
    def n_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()

    @property
    def is_on_disk(self) -> bool:
        return False

    def load(self) -> torch.Tensor:
        return self.tensor


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """`[K, N, D]`: the rows themselves at 16 bits (the model's own precision), else codes, minima and scales."""

    bits: Bits
    dtype: torch.dtype
    parts: tuple[StoredTensor, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.parts)

    def unpack(self, device: torch.device) -> torch.Tensor:
        """`[K, N, D]` on a device, in the precision of the model."""
        loaded = [part.load().to(device, non_blocking=True) for part in self.parts]
        return loaded[0] if self.bits == 16 else _decode(loaded, self.bits).to(self.dtype)

    def select(self, rows_N: torch.Tensor) -> PackedRows:
        """Some of the rows, with the codes that they have."""
        code, *range_ = self.parts
        return PackedRows(self.bits, self.dtype, (HostTensor(code.load()[:, rows_N]), *range_))


def pack(x_KND: torch.Tensor, bits: Bits, *, pin: bool = False) -> PackedRows:
    """Rows on their way to host memory; the codes are made where the rows are. pin: page-locked, for fast reading."""
    tensors = (x_KND.contiguous(),) if bits == 16 else _encode(x_KND, bits)
    host = [tensor.to("cpu", copy=True) if bits == 16 else tensor.to("cpu") for tensor in tensors]
    return PackedRows(bits, x_KND.dtype, tuple(HostTensor(t.pin_memory() if pin else t) for t in host))


def packed_bytes(n_heads: int, n_rows: int, head_dim: int, bits: Bits, dtype: torch.dtype) -> int:
    """Bytes of packed rows, minima and scales included."""
    if bits == 16:
        return n_heads * n_rows * head_dim * torch.empty(0, dtype=dtype).element_size()
    return n_heads * n_rows * head_dim * bits // 8 + 2 * 2 * n_heads * head_dim


def _encode(x_KND: torch.Tensor, bits: Bits) -> tuple[torch.Tensor, ...]:
    """Codes uint8 `[K, N, D]` (4 bits: `[K, N, D / 2]`, the second half of the channels in the high bits), minimum
    and scale float16 `[K, 1, D]`.
    """
    exact_KND = x_KND.float()
    low_K1D = exact_KND.amin(dim=1, keepdim=True).clamp(-_FLOAT16_MOST, _FLOAT16_MOST).half()
    step_K1D = (exact_KND.amax(dim=1, keepdim=True) - low_K1D.float()) / (2**bits - 1)
    # A scale that float16 rounds to 0 is that of a channel whose rows are equal: any positive one will do.
    tiny = torch.finfo(torch.float16).smallest_normal
    scale_K1D = step_K1D.clamp(tiny, _FLOAT16_MOST).half()
    code_KND = ((exact_KND - low_K1D.float()) / scale_K1D.float()).round().clamp(0, 2**bits - 1).to(torch.uint8)
    if bits == 4:
        first, second = code_KND.chunk(2, dim=-1)
        code_KND = first | (second << 4)
    return code_KND.contiguous(), low_K1D, scale_K1D


def _decode(parts: list[torch.Tensor], bits: Bits) -> torch.Tensor:
    code_KND, low_K1D, scale_K1D = parts
    if bits == 4:
        code_KND = torch.cat((code_KND & 15, code_KND >> 4), dim=-1)
    return code_KND.float() * scale_K1D.float() + low_K1D.float()
