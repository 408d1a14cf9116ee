"""How many bytes a value's tensors take."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch


def tensor_bytes(value: Any) -> int:
    """Of all tensors in a value made of tuples, dataclasses and plain things, such as a policy's state.

    A tensor that occurs twice counts twice; views count what they show.
    """
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, tuple | list):
        return sum(tensor_bytes(item) for item in value)
    kind: Any = type(value)
    return sum(tensor_bytes(getattr(value, name)) for name in _field_names(kind))


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    """Of dataclasses of this kind; none of other values."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
