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
    """The same, fast enough for whole engines: a segment's rows and heads at once."""
    n_heads, group = query_THD.shape[1], query_THD.shape[1] // key_rows_RKD.shape[1]
    out_THD = torch.full_like(query_THD, float("nan"))
    lse_HT = torch.full((n_heads, len(query_THD)), float("nan"), dtype=query_THD.dtype)
    assert max_q == 1 or max_q >= int(cu_q.diff().max())
    for first, end, start, length in zip(cu_q[:-1].tolist(), cu_q[1:].tolist(), k_start.tolist(), k_len.tolist()):
        keys_HND, values_HND = (
            rows_RKD[start : start + length].transpose(0, 1).repeat_interleave(group, dim=0)
            for rows_RKD in (key_rows_RKD, value_rows_RKD)
        )
        score_HTN = query_THD[first:end].transpose(0, 1) @ keys_HND.transpose(1, 2) * scale
        if causal:
            n_new = end - first
            is_hidden_TN = torch.ones(n_new, length, dtype=torch.bool).triu(length - n_new + 1)
            score_HTN = score_HTN.masked_fill(is_hidden_TN, float("-inf"))
        lse = score_HTN.logsumexp(dim=-1)
        out_THD[first:end] = (score_HTN.softmax(dim=-1).nan_to_num() @ values_HND).transpose(0, 1)
        lse_HT[:, first:end] = lse.masked_fill(lse == float("-inf"), float("inf"))
    return out_THD, lse_HT
