"""Attention over a memory on any device that PyTorch's own operators run on: the reference path.

Shape letters: H query heads, K key/value heads, G query heads per key/value head (H = K·G), T new tokens, N held
tokens, M tail tokens, D head dimension.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional

# Queries of a question whose scores exist at one time: 64 by 28 heads by 6,000 keys take 43 MB.
BLOCK_QUERIES = 64


def lower_right_mask(n_queries: int, n_keys: int, device: torch.device) -> torch.Tensor:
    """Bool `[n_queries, n_keys]`: the last query sees every key, the one before it all but the last, and so on."""
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


def attend_causal(
    query_HTD: torch.Tensor,
    key_KND: torch.Tensor,
    value_KND: torch.Tensor,
    scaling: float,
    mask_TN: torch.Tensor | None = None,
) -> torch.Tensor:
    """Tokens that were just appended attend to everything up to themselves; returns `[H, T, D]`.

    The keys end with the T new ones. SDPA's own `is_causal` is aligned top left and cannot be used here.
    mask_TN: `lower_right_mask(T, N)` if the caller has it already.
    """
    n_queries, n_keys = query_HTD.shape[1], key_KND.shape[1]
    if mask_TN is None and n_queries > 1:
        mask_TN = lower_right_mask(n_queries, n_keys, query_HTD.device)
    out_BHTD = functional.scaled_dot_product_attention(
        query_HTD[None], key_KND[None], value_KND[None], attn_mask=mask_TN, scale=scaling, enable_gqa=True
    )
    return out_BHTD[0]


def attend_with_tail(
    query_HTD: torch.Tensor,
    held_key_KND: torch.Tensor,
    held_value_KND: torch.Tensor,
    tail_key_KMD: torch.Tensor,
    tail_value_KMD: torch.Tensor,
    scaling: float,
    *,
    want_mass: bool = False,
    visible_KN: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The newest T tokens of a private tail attend to held tokens and, causally, to their tail.

    Held and tail stay where they are: only their scores meet, in one softmax, so no key or value is copied. Long
    questions go through in blocks, which bounds the scores.
    visible_KN: which held tokens the queries of each key/value head see; None is all.
    Returns `[H, T, D]` and, if wanted, the mean attention to each held token, float32 (float64 for float64 inputs)
    `[K, N]`.
    """
    n_queries, n_tail = query_HTD.shape[1], tail_key_KMD.shape[1]
    held = held_key_KND, held_value_KND
    if n_queries <= BLOCK_QUERIES:
        own = tail_key_KMD, tail_value_KMD
        return _attend_block(query_HTD, *held, *own, scaling, want_mass=want_mass, visible_KN=visible_KN)
    outs, masses = [], []
    for start in range(0, n_queries, BLOCK_QUERIES):
        block_HTD = query_HTD[:, start : start + BLOCK_QUERIES]
        n_seen = n_tail - n_queries + start + block_HTD.shape[1]
        tail = tail_key_KMD[:, :n_seen], tail_value_KMD[:, :n_seen]
        out_HTD, mass_KN = _attend_block(block_HTD, *held, *tail, scaling, want_mass=want_mass, visible_KN=visible_KN)
        outs.append(out_HTD)
        if mass_KN is not None:
            masses.append(mass_KN * (block_HTD.shape[1] / n_queries))
    return torch.cat(outs, dim=1), torch.stack(masses).sum(dim=0) if want_mass else None


def attention_by_head(
    query_HTD: torch.Tensor,
    held_key_KND: torch.Tensor,
    tail_key_KMD: torch.Tensor,
    scaling: float,
    *,
    visible_KN: torch.Tensor | None = None,
) -> torch.Tensor:
    """What the newest T tokens of a tail pay to each held token, then to each of the tail; `[H, N + M]`.

    Their mean, for each query head. The same weights as in `attend_with_tail`, and as exact; blocks bound the scores.
    """
    n_heads, n_queries, _ = query_HTD.shape
    n_held, n_tail = held_key_KND.shape[1], tail_key_KMD.shape[1]
    exact = torch.promote_types(query_HTD.dtype, torch.float32)
    total_HN = torch.zeros(n_heads, n_held + n_tail, dtype=exact, device=query_HTD.device)
    for start in range(0, n_queries, BLOCK_QUERIES):
        block_HTD = query_HTD[:, start : start + BLOCK_QUERIES]
        n_seen = n_tail - n_queries + start + block_HTD.shape[1]
        weight_KRN = _weights(block_HTD, held_key_KND, tail_key_KMD[:, :n_seen], scaling, visible_KN)
        total_HN[:, : n_held + n_seen] += weight_KRN.reshape(n_heads, block_HTD.shape[1], n_held + n_seen).sum(dim=1)
    return total_HN / n_queries


def mass_without_mask(
    query_HTD: torch.Tensor, held_key_KND: torch.Tensor, tail_key_KTD: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Mean attention to each held token where every query sees every key; float32 or float64 `[K, N]`."""
    n_heads, n_queries, head_dim = query_HTD.shape
    n_kv_heads = held_key_KND.shape[0]
    query_KRD = query_HTD.reshape(n_kv_heads, n_heads // n_kv_heads * n_queries, head_dim)
    exact = torch.promote_types(query_HTD.dtype, torch.float32)
    keys = torch.cat((held_key_KND, tail_key_KTD), dim=1)
    weight_KRN = torch.softmax(torch.matmul(query_KRD, keys.transpose(1, 2)).to(exact) * scaling, dim=-1)
    return weight_KRN[..., : held_key_KND.shape[1]].mean(dim=1)


def mass_of_newest(query_HTD: torch.Tensor, key_KND: torch.Tensor, scaling: float) -> torch.Tensor:
    """Mean attention `[K, N]` that the newest T tokens of a memory pay to each of its tokens, causally."""
    n_queries, n_older = query_HTD.shape[1], key_KND.shape[1] - query_HTD.shape[1]
    total_KN = torch.zeros_like(key_KND[..., 0], dtype=torch.promote_types(key_KND.dtype, torch.float32))
    for start in range(0, n_queries, BLOCK_QUERIES):
        block_HTD = query_HTD[:, start : start + BLOCK_QUERIES]
        n_seen = start + block_HTD.shape[1]
        weight_KRN = _weights(block_HTD, key_KND[:, :n_older], key_KND[:, n_older : n_older + n_seen], scaling)
        total_KN[:, : n_older + n_seen] += weight_KRN.sum(dim=1)
    return total_KN / (n_queries * (query_HTD.shape[0] // key_KND.shape[0]))


def _attend_block(
    query_HTD: torch.Tensor,
    held_key_KND: torch.Tensor,
    held_value_KND: torch.Tensor,
    tail_key_KMD: torch.Tensor,
    tail_value_KMD: torch.Tensor,
    scaling: float,
    *,
    want_mass: bool,
    visible_KN: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `attend_with_tail`, for queries that are the last of the tail given here."""
    n_heads, n_queries, head_dim = query_HTD.shape
    n_held = held_key_KND.shape[1]
    dtype = query_HTD.dtype
    weight = _weights(query_HTD, held_key_KND, tail_key_KMD, scaling, visible_KN)
    weight_KRN, weight_KRM = weight.split((n_held, tail_key_KMD.shape[1]), dim=-1)
    out_KRD = torch.matmul(weight_KRN.to(dtype), held_value_KND) + torch.matmul(weight_KRM.to(dtype), tail_value_KMD)
    mass_KN = weight_KRN.mean(dim=1) if want_mass else None
    return out_KRD.reshape(n_heads, n_queries, head_dim), mass_KN


def _weights(
    query_HTD: torch.Tensor,
    held_key_KND: torch.Tensor,
    tail_key_KMD: torch.Tensor,
    scaling: float,
    visible_KN: torch.Tensor | None = None,
) -> torch.Tensor:
    """One softmax over held and tail keys for the last queries of the tail: `[K, G * T, N + M]`, T fastest."""
    n_heads, n_queries, head_dim = query_HTD.shape
    n_kv_heads, n_held, _ = held_key_KND.shape
    n_tail, dtype, device = tail_key_KMD.shape[1], query_HTD.dtype, query_HTD.device
    group = n_heads // n_kv_heads
    query_KRD = query_HTD.reshape(n_kv_heads, group * n_queries, head_dim)
    # Softmax in float32 at least: half-precision weights of thousands of keys underflow. Held and tail scores are
    # converted as they enter one buffer: over thousands of keys, each pass that is saved counts.
    exact = torch.promote_types(dtype, torch.float32)
    score = torch.empty(n_kv_heads, group * n_queries, n_held + n_tail, dtype=exact, device=device)
    score[..., :n_held] = torch.matmul(query_KRD, held_key_KND.transpose(1, 2))
    score[..., n_held:] = torch.matmul(query_KRD, tail_key_KMD.transpose(1, 2))
    if visible_KN is not None:
        score[..., :n_held].masked_fill_(~visible_KN[:, None], float("-inf"))
    if n_queries > 1:
        score[..., n_held:].masked_fill_(_hidden_rows(group, n_queries, n_tail, device), float("-inf"))
    return torch.softmax(score.mul_(scaling), dim=-1)


@lru_cache(maxsize=64)
def _hidden_rows(group: int, n_queries: int, n_tail: int, device: torch.device) -> torch.Tensor:
    """Bool `[G * T, M]`: what each of a tail's last queries must not see; the same in all layers and sessions."""
    return (~lower_right_mask(n_queries, n_tail, device)).repeat(group, 1)
