"""Calls on their way from the first rank to the others: functions by name, tensors as bytes."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch

from hermes_stream.memory.tensor_file import raw_bytes

# A function of a shard, and its other arguments.
Call = tuple[Callable[..., Any], tuple[Any, ...]]
# Instead of calls, from a first rank that ends in order.
NOTHING_MORE = b""


def to_bytes(calls: Sequence[Call]) -> bytes:
    """Tensors arrive in host memory, only as much as they show, and once where several calls share one."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(list(calls))
    return buffer.getvalue()


def from_bytes(data: bytes) -> list[Call]:
    """What `to_bytes` was given. Only for bytes of a process that may do anything here anyway."""
    calls: list[Call] = pickle.loads(data)
    return calls


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """A tensor without what else is in its storage, and without its device."""
        if not isinstance(value, torch.Tensor):
            return NotImplemented
        return _tensor, (value.dtype, tuple(value.shape), bytes(raw_bytes(value.detach())))


def _tensor(dtype: torch.dtype, shape: tuple[int, ...], data: bytes) -> torch.Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
