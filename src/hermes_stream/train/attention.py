"""Attention of the text model over rows that hold one stream and many questions, masked by groups of layers.

Transformers builds no mask for it, so that there is none but ours. Questions
do not see each other, so their part of the score matrix is never computed: twice as fast as one masked square.
Shape letters: B batch, T tokens of a row (S of the stream, then Q questions of M tokens each), H query heads, K
key/value heads, D head dimension, G layer groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LlavaOnevisionForConditionalGeneration

from hermes_stream.models.attention_seam import use_attention

ATTENTION_NAME = "hermes_stream_training"

# HERMES splits the decoder 10/60/30 into shallow, middle and deep layers.
N_GROUPS = 3
_SHALLOW_SHARE, _DEEP_BEGINS = 0.1, 0.7
_HIDDEN = -1e4


@dataclass(frozen=True, eq=False)
class Visibility:
    """Who attends to whom in rows of S stream tokens and Q questions of M tokens.

    stream_BGSS: bool, stream rows over stream columns. question_BGQS: bool, questions over stream columns. Inside a
    question attention is causal, and no question sees another one.
    """

    stream_BGSS: torch.Tensor
    question_BGQS: torch.Tensor
    n_question_tokens: int


def layer_group(layer_index: int, n_layers: int) -> int:
    """0 for shallow, 1 for middle, 2 for deep layers."""
    if layer_index < int(_SHALLOW_SHARE * n_layers):
        return 0
    return 1 if layer_index < int(_DEEP_BEGINS * n_layers) else 2


def use_training_attention(model: LlavaOnevisionForConditionalGeneration) -> None:
    """Let the text model attend as a `Visibility` says; from then on it must be given the keyword `visibility`."""
    use_attention(model, ATTENTION_NAME, _attend)


def _attend(
    module: Any,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    *,
    scaling: float,
    visibility: Visibility,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if attention_mask is not None:
        raise TypeError("transformers built a mask for an attention function that brings its own")
    group = layer_group(module.layer_idx, module.config.num_hidden_layers)
    key_BHTD = key_BKTD.repeat_interleave(module.num_key_value_groups, dim=1)
    value_BHTD = value_BKTD.repeat_interleave(module.num_key_value_groups, dim=1)
    question_BQS = visibility.question_BGQS[:, group]
    n_questions, n_stream = question_BQS.shape[1:]
    stream_key, stream_value = key_BHTD[:, :, :n_stream], value_BHTD[:, :, :n_stream]
    output = F.scaled_dot_product_attention(
        query_BHTD[:, :, :n_stream],
        stream_key,
        stream_value,
        attn_mask=visibility.stream_BGSS[:, group, None],
        scale=scaling,
    )
    if n_questions:
        query, key, value = (
            tensor[:, :, n_stream:].unflatten(2, (n_questions, visibility.n_question_tokens))
            for tensor in (query_BHTD * scaling, key_BHTD, value_BHTD)
        )
        tail_output = _attend_tails(query, key, value, stream_key, stream_value, question_BQS)
        output = torch.cat((output, tail_output.flatten(2, 3)), dim=2)
    return output.transpose(1, 2).contiguous(), None


def _attend_tails(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    stream_key: torch.Tensor,
    stream_value: torch.Tensor,
    question_BQS: torch.Tensor,
) -> torch.Tensor:
    """One softmax over the visible stream and the question's own past; tensors `[B, H, Q, M, D]` and `[B, H, S, D]`."""
    n_questions, n_tokens = query.shape[2:4]
    zero = query.new_zeros(())
    stream_bias = torch.where(question_BQS, zero, _HIDDEN)[:, None, :, None]
    own_bias = torch.where(torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril(), zero, _HIDDEN)
    stream_scores = (query.flatten(2, 3) @ stream_key.transpose(-1, -2)).unflatten(2, (n_questions, n_tokens))
    own_scores = query @ key.transpose(-1, -2)
    weights = torch.cat((stream_scores + stream_bias, own_scores + own_bias), dim=-1).softmax(-1)
    n_stream = stream_key.shape[2]
    from_stream: torch.Tensor = (weights[..., :n_stream].flatten(2, 3) @ stream_value).unflatten(
        2, (n_questions, n_tokens)
    )
    return from_stream + weights[..., n_stream:] @ value
