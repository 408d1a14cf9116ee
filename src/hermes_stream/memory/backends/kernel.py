"""The only file that knows PyTorch's fused attention over ragged rows (FlashAttention-2 on CUDA).

Shape letters: H query heads, K key/value heads, T new tokens (packed), R rows of an arena, N segments, D head
dimension.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch

# Which part of PyTorch is called is written here too, for `hermes-stream doctor`.
PUBLIC, PRIVATE = "varlen_attn", "aten::_flash_attention_forward"

# Of query, key rows, value rows, cu_q, k_start, k_len, max_q, capacity, scale, causal: outputs and log-sum-exps.
Kernel = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int, int, float, bool],
    tuple[torch.Tensor, torch.Tensor],
]


def fused_op() -> str:
    """The operation that the installed PyTorch offers for rows in slots with lengths on the device.

    The public one takes such lengths from torch 2.12 on; the private one below it has taken them since 2.10.
    """
    from torch.nn.attention.varlen import varlen_attn

    return PUBLIC if "seqused_k" in inspect.signature(varlen_attn).parameters else PRIVATE


def fused_attention(
    query_THD: torch.Tensor,
    key_rows_RKD: torch.Tensor,
    value_rows_RKD: torch.Tensor,
    cu_q: torch.Tensor,
    k_start: torch.Tensor,
    k_len: torch.Tensor,
    max_q: int,
    capacity: int,
    scale: float,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs `[T, H, D]` and their log-sum-exp, float32 `[H, T]`; see `flash.packed_attention` for the arguments.

    fp16 and bf16 on CUDA only; every argument but the four numbers is on the device, and nothing is read back.
    """
    segments = cu_q, k_start, max_q, capacity
    if fused_op() == PUBLIC:
        from torch.nn.attention.varlen import AuxRequest, varlen_attn

        out_THD, lse_HT = varlen_attn(
            query_THD,
            key_rows_RKD,
            value_rows_RKD,
            *segments,
            return_aux=AuxRequest(lse=True),
            scale=scale,
            # (-1, 0) is causal, aligned lower right. For single rows it would switch the fast decode form off.
            window_size=(-1, 0) if causal else (-1, -1),
            enable_gqa=True,
            seqused_k=k_len,
        )
        return out_THD, lse_HT
    out_THD, lse_HT, *_ = torch.ops.aten._flash_attention_forward(
        query_THD, key_rows_RKD, value_rows_RKD, *segments, 0.0, causal, False, scale=scale, seqused_k=k_len
    )
    return out_THD, lse_HT
