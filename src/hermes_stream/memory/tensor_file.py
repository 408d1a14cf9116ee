"""Named tensors in a file, in the format of safetensors: written and read one by one, so that none is held twice.

Format: eight bytes say how long a JSON header is, which names each tensor's dtype, shape and place in what follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
# The format's own bound.
_LONGEST_HEADER = 100_000_000


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The numbers of a tensor, row by row; a view of its memory where that is possible."""
    flat = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    data: memoryview = flat.data
    return data


def write_tensors(
    file: SupportsWrite[bytes | memoryview],
    kinds: Mapping[str, tuple[torch.dtype, torch.Size]],
    read: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors of the given dtypes and shapes. read: gives each by its name, once, when it is written."""
    # Larger numbers first, as the format asks for: each then stands at a multiple of its size.
    names = sorted(kinds, key=lambda name: (-kinds[name][0].itemsize, name))
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name in names:
        dtype, shape = kinds[name]
        start, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in names:
        file.write(raw_bytes(read(name)))


def read_tensors(file: BinaryIO, n_bytes: int | None = None) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors by name, and the metadata. n_bytes: of the whole file, where it may say of itself what is not so.

    Raises ValueError for what is not such a file as a whole.
    """
    head = file.read(8)
    n_header = int.from_bytes(head, "little")
    if len(head) < 8 or not 0 < n_header <= _LONGEST_HEADER:
        raise ValueError("no header of tensors")
    text = file.read(n_header)
    header = json.loads(text) if len(text) == n_header else None
    metadata = header.pop(_METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(metadata, dict):
        raise ValueError("no whole header of tensors")
    places = [(name, *_place(entry)) for name, entry in header.items()]
    places.sort(key=lambda place: place[3:])
    ends = [0, *(end for *_, end in places)]
    if [start for *_, start, _ in places] != ends[:-1]:
        raise ValueError("tensors overlap, or something is between them")
    if n_bytes is not None and n_bytes != 8 + n_header + ends[-1]:
        raise ValueError(f"{n_bytes} bytes instead of {8 + n_header + ends[-1]}")
    tensors = {name: _read(file, dtype, shape, end - start) for name, dtype, shape, start, end in places}
    if file.read(1):
        raise ValueError("something is behind the tensors")
    return tensors, metadata


def _place(entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """dtype, shape, start and end of one tensor."""
    try:
        dtype, shape, (start, end) = _DTYPES[entry["dtype"]], list(entry["shape"]), entry["data_offsets"]
        is_good = min(shape, default=0) >= 0 and end - start == prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("a header that does not describe tensors") from error
    if not is_good:
        raise ValueError("a tensor's shape and place do not agree")
    return dtype, shape, start, end


def _read(file: BinaryIO, dtype: torch.dtype, shape: list[int], n_bytes: int) -> torch.Tensor:
    if not n_bytes:
        return torch.empty(shape, dtype=dtype)
    data = bytearray(n_bytes)
    view, n_read = memoryview(data), 0
    while n_read < n_bytes:
        n = file.readinto(view[n_read:])  # type: ignore[attr-defined]
        if not n:
            raise ValueError(f"{n_bytes - n_read} bytes are missing")
        n_read += n
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(shape)
