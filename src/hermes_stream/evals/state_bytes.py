"""How much a policy's own state weighs, beside the rows that it decides about."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch


def state_bytes(state: Any) -> int:
    """Bytes of the distinct tensors in a state: tuples and frozen dataclasses of them, at any depth.

    A tensor that is a part of another counts as itself, and one that is met twice counts once. Numbers, words and None
    weigh nothing: they do not grow with the stream's pictures.
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(state).values())


def _tensors(state: Any) -> dict[int, torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return {id(state): state}
    if isinstance(state, tuple):
        parts = list(state)
    elif is_dataclass(state):
        parts = [getattr(state, field.name) for field in fields(state)]
    else:
        return {}
    return {key: tensor for part in parts for key, tensor in _tensors(part).items()}
