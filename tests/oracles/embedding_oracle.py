"""The released shortcut for a guidance prompt, layer by layer with the stock modules and one loop per head.

Shape letters: N held tokens, T prompt tokens, D head dimension, E model width.
"""

from __future__ import annotations

from typing import Any

import torch


def rotate_half_by_hand(x_TD: torch.Tensor, inv_freq: torch.Tensor, first_position: int) -> torch.Tensor:
    """Rotary embedding of text: token t stands at first_position + t on every axis."""
    half = x_TD.shape[1] // 2
    rotated = torch.empty_like(x_TD)
    for t in range(x_TD.shape[0]):
        for pair in range(half):
            angle = (first_position + t) * inv_freq[pair]
            a, b = x_TD[t, pair], x_TD[t, pair + half]
            rotated[t, pair] = a * angle.cos() - b * angle.sin()
            rotated[t, pair + half] = b * angle.cos() + a * angle.sin()
    return rotated


@torch.no_grad()
def attention_of_raw_embeddings(
    text_model: Any, layer_index: int, held_KND: torch.Tensor, prompt_TE: torch.Tensor, first_position: int
) -> torch.Tensor:
    """Mean over prompt tokens of each query head's attention to each held token, `[H, N]`.

    held_KND: the layer's rotated keys, as the stock model caches them.
    """
    attention = text_model.layers[layer_index].self_attn
    x_TE = text_model.layers[layer_index].input_layernorm(prompt_TE)
    n_tokens, dim = prompt_TE.shape[0], attention.head_dim
    queries = attention.q_proj(x_TE).view(n_tokens, -1, dim)
    keys = attention.k_proj(x_TE).view(n_tokens, -1, dim)
    if hasattr(attention, "q_norm"):
        queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    inv_freq = text_model.rotary_emb.inv_freq
    n_heads, n_kv_heads, n_held = queries.shape[1], keys.shape[1], held_KND.shape[1]
    result = torch.zeros(n_heads, n_held)
    for head in range(n_heads):
        kv_head = head // (n_heads // n_kv_heads)
        query_TD = rotate_half_by_hand(queries[:, head], inv_freq, first_position)
        own_TD = rotate_half_by_hand(keys[:, kv_head], inv_freq, first_position)
        all_keys = torch.cat((held_KND[kv_head], own_TD))
        for t in range(n_tokens):
            weights = torch.softmax(all_keys @ query_TD[t] / dim**0.5, dim=0)
            result[head] += weights[:n_held] / n_tokens
    return result
