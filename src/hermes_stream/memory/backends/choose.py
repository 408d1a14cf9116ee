"""Which backend a model's memory gets, and why."""

from __future__ import annotations

from collections.abc import Collection

import torch

from hermes_stream.memory.backends.base import Backend
from hermes_stream.memory.backends.kernel import fused_op
from hermes_stream.memory.backends.packed import FlashBackend
from hermes_stream.memory.backends.reference import ReferenceBackend

# What FlashAttention-2 within PyTorch computes.
_DTYPES = (torch.float16, torch.bfloat16)
_LARGEST_HEAD = 256
_HEAD_MULTIPLE = 8
_OLDEST_CAPABILITY = (8, 0)


def choose_backend(
    devices: Collection[torch.device], dtype: torch.dtype, head_dim: int, n_heads: int, n_kv_heads: int
) -> Backend:
    """The fused one where it can run, else the reference; `reason` says why.

    devices: of all layers.
    """
    obstacle = _obstacle(devices, dtype, head_dim, n_heads, n_kv_heads)
    if obstacle is not None:
        return ReferenceBackend(f"PyTorch's operators, because {obstacle}")
    return FlashBackend(
        f"{fused_op()} of torch {torch.__version__} over slots of one arena, because the device is CUDA and the model "
        f"is in {_short(dtype)} with heads of {head_dim}"
    )


def _obstacle(
    devices: Collection[torch.device], dtype: torch.dtype, head_dim: int, n_heads: int, n_kv_heads: int
) -> str | None:
    """What keeps the fused operation from running, in words; None if nothing does."""
    others = sorted({device.type for device in devices if device.type != "cuda"})
    if others:
        return f"the fused operation runs on CUDA only and the device is {' and '.join(others)}"
    if dtype not in _DTYPES:
        return f"the fused operation takes float16 and bfloat16 and the model is in {_short(dtype)}"
    if head_dim > _LARGEST_HEAD or head_dim % _HEAD_MULTIPLE:
        return f"the fused operation takes heads of 8, 16, ... {_LARGEST_HEAD} and the model's have {head_dim}"
    if n_heads % n_kv_heads:
        return f"{n_heads} query heads do not divide into {n_kv_heads} groups"
    if torch.version.hip is not None:
        return "the fused operation was written against CUDA and this PyTorch is for AMD"
    capability = min(torch.cuda.get_device_capability(device) for device in devices)
    if capability < _OLDEST_CAPABILITY:
        return f"the fused operation needs compute capability 8.0 and this device has {capability[0]}.{capability[1]}"
    return None


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
