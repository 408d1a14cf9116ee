"""Attention of many segments over rows of one arena: one call, parts merged by log-sum-exp, mass without a mask.

Shape letters: H query heads, K key/value heads, G query heads per key/value head (H = K·G), T new tokens (packed),
R rows of an arena, N segments or held tokens, P parts, D head dimension.
"""

from __future__ import annotations

import torch

from hermes_stream.memory.attention import BLOCK_QUERIES
from hermes_stream.memory.backends.kernel import Kernel, fused_attention

# What computes; tests without a device put a reference here.
kernel: Kernel = fused_attention


def packed_attention(
    query_THD: torch.Tensor,
    key_rows_RKD: torch.Tensor,
    value_rows_RKD: torch.Tensor,
    cu_q: torch.Tensor,
    k_start: torch.Tensor,
    k_len: torch.Tensor,
    max_q: int,
    capacity: int,
    scale: float,
    *,
    causal: bool,
    want_lse: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Segment n, the rows `[cu_q[n], cu_q[n + 1])` of the query, attends to `k_len[n]` rows from row `k_start[n]` on.

    cu_q, k_start: int32 `[N + 1]` (the last entry of k_start is not used); k_len: int32 `[N]`; on the device.
    max_q: at least the longest segment; with 1 every segment must have exactly one row. capacity: at least the longest
    k_len. Both are numbers of the host and baked into a graph.
    causal: aligned lower right, the last query of a segment sees all its rows.
    Returns outputs `[T, H, D]` and the log-sum-exp of the scaled scores, float32 at least, `[H, T]`. A segment without
    rows to see has output 0 and log-sum-exp +inf; rows from `cu_q[N]` on are not written. Grouped heads share the rows.
    """
    is_causal = causal and max_q > 1
    out_THD, lse_HT = kernel(
        query_THD, key_rows_RKD, value_rows_RKD, cu_q, k_start, k_len, max_q, capacity, scale, is_causal
    )
    return out_THD, lse_HT if want_lse else None


def merge_parts(out_PTHD: torch.Tensor, lse_PHT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the same queries get from the keys of all parts together: `[T, H, D]`, and its log-sum-exp `[H, T]`.

    Parts and log-sum-exps as `packed_attention` returns them: +inf says that a part had no keys. Sums run in float32
    at least. Queries without a key in any part get 0, and -inf.
    """
    lse_PHT = lse_PHT.masked_fill(lse_PHT == float("inf"), float("-inf"))
    lse_HT = lse_PHT.logsumexp(dim=0)
    weight_PHT = (lse_PHT - lse_HT).exp().masked_fill(lse_PHT == float("-inf"), 0.0)
    out_THD = (out_PTHD.to(lse_PHT.dtype) * weight_PHT.transpose(1, 2)[..., None]).sum(dim=0)
    return out_THD.to(out_PTHD.dtype), lse_HT


def mass_from_lse(query_HTD: torch.Tensor, key_KND: torch.Tensor, lse_HT: torch.Tensor, scaling: float) -> torch.Tensor:
    """Mean attention to each of these keys, float32 at least `[K, N]`: all queries see all of them.

    lse_HT: over all that the queries attend to. Blocks of queries bound the scores; no second softmax is taken.
    """
    n_heads, n_queries, head_dim = query_HTD.shape
    n_kv_heads = key_KND.shape[0]
    group = n_heads // n_kv_heads
    total_KN = torch.zeros_like(key_KND[..., 0], dtype=lse_HT.dtype)
    for start in range(0, n_queries, BLOCK_QUERIES):
        rows = slice(start, start + BLOCK_QUERIES)
        query_KQD = query_HTD[:, rows].reshape(n_kv_heads, -1, head_dim)
        lse_KQ1 = lse_HT[:, rows].reshape(n_kv_heads, -1, 1)
        score_KQN = torch.matmul(query_KQD, key_KND.transpose(1, 2)).to(lse_HT.dtype).mul_(scaling)
        total_KN += score_KQN.sub_(lse_KQ1).exp_().sum(dim=1)
    return total_KN / (group * n_queries)
