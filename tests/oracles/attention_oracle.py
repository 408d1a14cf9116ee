"""Attention written out: one query, one head, one key at a time."""

from __future__ import annotations

import math

import torch


def attend_slowly(
    query_HTD: torch.Tensor, key_KND: torch.Tensor, value_KND: torch.Tensor, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output `[H, T, D]` and weights `[H, T, N]`; the T queries are the last T of the N tokens, and causal."""
    n_heads, n_queries, _ = query_HTD.shape
    n_kv_heads, n_keys, head_dim = key_KND.shape
    out = torch.zeros(n_heads, n_queries, head_dim, dtype=query_HTD.dtype)
    weights = torch.zeros(n_heads, n_queries, n_keys, dtype=query_HTD.dtype)
    for head in range(n_heads):
        kv_head = head // (n_heads // n_kv_heads)
        for row in range(n_queries):
            n_visible = n_keys - n_queries + row + 1
            scores = [
                math.exp(float(query_HTD[head, row] @ key_KND[kv_head, column]) * scaling)
                for column in range(n_visible)
            ]
            for column, score in enumerate(scores):
                weights[head, row, column] = score / sum(scores)
                out[head, row] += weights[head, row, column] * value_KND[kv_head, column]
    return out, weights
