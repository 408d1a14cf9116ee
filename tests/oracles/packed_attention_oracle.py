"""What the fused operation over rows in slots is defined to do: one segment, one query row, one head at a time.

Semantics of FlashAttention-2 with `cu_seq_k` as slot starts and `seqused_k`: causal is aligned lower right on the
lengths; a segment without keys gives output 0 and log-sum-exp +inf; query rows behind the last segment are not written.
"""

from __future__ import annotations

import torch


def packed_attention_slowly(
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
    """A kernel for `hermes_stream.memory.backends.flash`, and its oracle."""
    n_rows, n_heads, _ = query_THD.shape
    group = n_heads // key_rows_RKD.shape[1]
    n_segments = len(k_len)
    assert cu_q.dtype == k_start.dtype == k_len.dtype == torch.int32
    assert len(cu_q) == len(k_start) == n_segments + 1
    if max_q == 1 and not causal:
        assert n_rows == n_segments, "the decode form needs exactly one row per segment"
    # Not written means anything: here what nobody can overlook.
    out_THD = torch.full_like(query_THD, float("nan"))
    lse_HT = torch.full((n_heads, n_rows), float("nan"), dtype=torch.promote_types(query_THD.dtype, torch.float32))
    for segment in range(n_segments):
        first, end = int(cu_q[segment]), int(cu_q[segment + 1])
        start, length = int(k_start[segment]), int(k_len[segment])
        assert end - first <= max_q, "rows beyond max_q are silently not computed"
        assert length <= capacity
        for row in range(first, end):
            n_seen = length - (end - 1 - row) if causal else length
            for head in range(n_heads):
                if n_seen <= 0:
                    out_THD[row, head], lse_HT[head, row] = 0.0, float("inf")
                    continue
                key_ND = key_rows_RKD[start : start + n_seen, head // group]
                score_N = (key_ND @ query_THD[row, head]).to(lse_HT.dtype) * scale
                lse_HT[head, row] = score_N.logsumexp(dim=0)
                weight_N = (score_N - lse_HT[head, row]).exp().to(query_THD.dtype)
                out_THD[row, head] = weight_N @ value_rows_RKD[start : start + n_seen, head // group]
    return out_THD, lse_HT


def packed_attention_by_segment(
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
    """The same, a segment at a time: for tests of whole models, where loops over rows and heads take too long."""
    n_rows, n_heads, _ = query_THD.shape
    group = n_heads // key_rows_RKD.shape[1]
    assert int(k_len.max()) <= capacity
    assert max_q > 1 or n_rows == len(k_len)
    out_THD = torch.full_like(query_THD, float("nan"))
    lse_HT = torch.full((n_heads, n_rows), float("nan"), dtype=query_THD.dtype)
    ends, bounds = cu_q.tolist(), zip(k_start[:-1].tolist(), k_len.tolist(), strict=True)
    for first, end, (start, length) in zip(ends, ends[1:], bounds, strict=False):
        rows, seen = slice(first, end), slice(start, start + length)
        keys_HDN = key_rows_RKD[seen].repeat_interleave(group, dim=1).permute(1, 2, 0)
        values_HND = value_rows_RKD[seen].repeat_interleave(group, dim=1).transpose(0, 1)
        score_HTN = query_THD[rows].transpose(0, 1) @ keys_HDN * scale
        if causal:
            is_seen_TN = torch.ones(end - first, length, dtype=torch.bool).tril(length - (end - first))
            score_HTN = score_HTN.masked_fill(~is_seen_TN, float("-inf"))
        lse_HT[:, rows] = score_HTN.logsumexp(dim=-1)
        out_THD[rows] = (score_HTN.softmax(dim=-1).nan_to_num() @ values_HND).transpose(0, 1)
    # Nothing seen.
    return out_THD, lse_HT.masked_fill(lse_HT == float("-inf"), float("inf"))
