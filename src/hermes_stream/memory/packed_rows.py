"""Keys or values of archived rows, exact or in 8 or 4 bits, in memory or in a file.

Quantisation is asymmetric: scale = (max - min) / (2^bits - 1), minimum and scale in float16. Ranges are those of a
channel over the rows that are packed together, as in StreamingTOM's store, or those of a row in each head: then a row
takes the same bytes whatever becomes of its neighbours. Rows are quantised once, when they are archived.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from hermes_stream.memory.upload import upload

Bits = Literal[16, 8, 4]
Ranges = Literal["channel", "row"]
_FLOAT16_MOST = torch.finfo(torch.float16).max


class StoredTensor(Protocol):
    """A tensor that can be had: in host memory, or read from a file."""

    @property
    def n_bytes(self) -> int: ...

    @property
    def shape(self) -> torch.Size: ...

    @property
    def is_on_disk(self) -> bool: ...

    def load(self) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True, eq=False)
class HostTensor:
    """A tensor in memory: of the host, or of the device where rows stay resident."""

    tensor: torch.Tensor

    @property
    def shape(self) -> torch.Size:
        return self.tensor.shape

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
    ranges: Ranges = "channel"

    @property
    def n_rows(self) -> int:
        return self.parts[0].shape[1]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.parts)

    def unpack(self, device: torch.device) -> torch.Tensor:
        """`[K, N, D]` on a device, in the precision of the model."""
        return unpack_together([self], device)

    def select(self, rows_N: torch.Tensor) -> PackedRows:
        """Some of the rows, with the codes that they have."""
        n_by_row = len(self.parts) if self.ranges == "row" else 1
        loaded = [part.load() for part in self.parts[:n_by_row]]
        chosen = [HostTensor(tensor[:, rows_N.to(tensor.device)]) for tensor in loaded]
        return PackedRows(self.bits, self.dtype, (*chosen, *self.parts[n_by_row:]), self.ranges)

    def join(self, newer: PackedRows) -> PackedRows:
        """These rows, then the newer ones, with the codes that they have; for ranges of rows."""
        both = zip(self.parts, newer.parts, strict=True)
        parts = tuple(HostTensor(torch.cat((old.load(), new.load()), dim=1)) for old, new in both)
        return PackedRows(self.bits, self.dtype, parts, self.ranges)


def pack(
    x_KND: torch.Tensor, bits: Bits, *, ranges: Ranges = "channel", pin: bool = False, resident: bool = False
) -> PackedRows:
    """Rows on their way to host memory; the codes are made where the rows are. pin: page-locked, for fast reading.

    resident: they stay where they are.
    """
    tensors = (x_KND.contiguous(),) if bits == 16 else _encode(x_KND, bits, _reduced_axis(ranges))
    home = x_KND.device if resident else torch.device("cpu")
    stored = [tensor.to(home, copy=True) if bits == 16 else tensor.to(home) for tensor in tensors]
    parts = tuple(HostTensor(t.pin_memory() if pin and not resident else t) for t in stored)
    return PackedRows(bits, x_KND.dtype, parts, ranges)


def unpack_together(packed: Sequence[PackedRows], device: torch.device) -> torch.Tensor:
    """Rows of several packs of one kind, one behind the other: `[K, N, D]` on a device. One decoding for all."""
    kind = packed[0]
    by_part = zip(*([part.load() for part in rows.parts] for rows in packed), strict=True)
    counts = [rows.n_rows for rows in packed]
    code, *ranges = (upload(torch.cat(parts, dim=1), device) for parts in by_part)
    if kind.bits == 16:
        return code
    if kind.ranges == "channel":
        count_B = torch.tensor(counts, device=device)
        ranges = [x.repeat_interleave(count_B, dim=1, output_size=code.shape[1]) for x in ranges]
    return _decode(code, ranges[0], ranges[1], kind.bits).to(kind.dtype)


def packed_bytes(
    n_heads: int, n_rows: int, head_dim: int, bits: Bits, dtype: torch.dtype, ranges: Ranges = "channel"
) -> int:
    """Bytes of packed rows, minima and scales included."""
    if bits == 16:
        return n_heads * n_rows * head_dim * torch.empty(0, dtype=dtype).element_size()
    n_ranges = n_heads * (head_dim if ranges == "channel" else n_rows)
    return n_heads * n_rows * head_dim * bits // 8 + 2 * 2 * n_ranges


def _reduced_axis(ranges: Ranges) -> int:
    return 1 if ranges == "channel" else 2


def _encode(x_KND: torch.Tensor, bits: Bits, axis: int) -> tuple[torch.Tensor, ...]:
    """Codes uint8 `[K, N, D]` (4 bits: `[K, N, D / 2]`, the second half of the channels in the high bits), minimum
    and scale float16, `[K, 1, D]` over the rows (axis 1) or `[K, N, 1]` over the channels (axis 2).
    """
    exact_KND = x_KND.float()
    low = exact_KND.amin(dim=axis, keepdim=True).clamp(-_FLOAT16_MOST, _FLOAT16_MOST).half()
    step = (exact_KND.amax(dim=axis, keepdim=True) - low.float()) / (2**bits - 1)
    # A scale that float16 rounds to 0 is that of equal numbers: any positive one will do.
    tiny = torch.finfo(torch.float16).smallest_normal
    scale = step.clamp(tiny, _FLOAT16_MOST).half()
    code_KND = ((exact_KND - low.float()) / scale.float()).round().clamp(0, 2**bits - 1).to(torch.uint8)
    if bits == 4:
        first, second = code_KND.chunk(2, dim=-1)
        code_KND = first | (second << 4)
    return code_KND.contiguous(), low, scale


def _decode(code_KND: torch.Tensor, low: torch.Tensor, scale: torch.Tensor, bits: Bits) -> torch.Tensor:
    if bits == 4:
        code_KND = torch.cat((code_KND & 15, code_KND >> 4), dim=-1)
    return torch.addcmul(low.float(), code_KND.float(), scale.float())
