"""Attention of the text model over rows that hold one stream and many questions, masked by groups of layers.

Transformers builds no mask for it, so that there is none but ours. Questions
do not see each other, so their part of the score matrix is never computed: twice as fast as one masked square.
Shape letters: B batch, T tokens of a row (S of the stream, then Q questions of M tokens each), H query heads, K
key/value heads, D head dimension, L layer groups.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hermes_stream.models.attention_seam import use_attention

ATTENTION_NAME = "hermes_stream_training"

# HERMES splits the decoder 10/60/30 into shallow, middle and deep layers.
N_GROUPS = 3
_SHALLOW_SHARE, _DEEP_BEGINS = 0.1, 0.7
_HIDDEN = -1e4

# Layers of the middle group: where a question finds what it names, and where an answer finds what it says.
_ASKED_LAYER, _ANSWER_LAYER, _EVIDENCE_GROUP, _EVIDENCE_HEADS = 4, 6, 1, 2
_TINY = 1e-4


@dataclass(frozen=True, eq=False)
class Evidence:
    """Teaches two heads of two layers to look at what an answer rests on; the forward stays the model's own.

    Questions alone teach slowly which frames of a minute matter. asked_BQMS: bool, the rows of the stream that show
    what a question names, for the last rows of its text; answer_BQMS: what the answer names, for the rows that say it.
    losses: filled by a forward.
    """

    asked_BQMS: torch.Tensor
    answer_BQMS: torch.Tensor
    losses: list[torch.Tensor] = field(default_factory=list)

    @staticmethod
    def of(asked_BQMS: torch.Tensor, answer_BQMS: torch.Tensor, visibility: Visibility) -> Evidence:
        """What is shown and still held."""
        held_BQ1S = visibility.question_BLQS[:, _EVIDENCE_GROUP, :, None]
        return Evidence(asked_BQMS & held_BQ1S, answer_BQMS & held_BQ1S)

    def see(self, layer_index: int, weights_BHQMS: torch.Tensor) -> None:
        """Take the attention of a layer's questions to the stream."""
        shown_BQMS = {_ASKED_LAYER: self.asked_BQMS, _ANSWER_LAYER: self.answer_BQMS}.get(layer_index)
        if shown_BQMS is None:
            return
        is_shown_BQM = shown_BQMS.any(-1)
        if bool(is_shown_BQM.any()):
            seen_BQM = (weights_BHQMS[:, :_EVIDENCE_HEADS].float().mean(1) * shown_BQMS).sum(-1)
            self.losses.append(-(seen_BQM[is_shown_BQM] + _TINY).log().mean())

    def loss(self) -> torch.Tensor:
        """Of the last forward; 0 where nothing rests on anything."""
        return torch.stack(self.losses).sum() if self.losses else torch.zeros(())


@dataclass(frozen=True, eq=False)
class Visibility:
    """Who attends to whom in rows of S stream tokens and Q questions of M tokens.

    evidence: what watches the attention of questions to the stream, if anything does.
    stream_BLSS: bool, stream rows over stream columns. question_BLQS: bool, questions over stream columns. Inside a
    question attention is causal, and no question sees another one.
    """

    stream_BLSS: torch.Tensor
    question_BLQS: torch.Tensor
    n_question_tokens: int
    evidence: Evidence | None = None


def layer_group(layer_index: int, n_layers: int) -> int:
    """0 for shallow, 1 for middle, 2 for deep layers."""
    if layer_index < int(_SHALLOW_SHARE * n_layers):
        return 0
    return 1 if layer_index < int(_DEEP_BEGINS * n_layers) else 2


def use_training_attention(model: nn.Module) -> None:
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
    question_BQS = visibility.question_BLQS[:, group]
    n_questions, n_stream = question_BQS.shape[1:]
    stream_key, stream_value = key_BHTD[:, :, :n_stream], value_BHTD[:, :, :n_stream]
    output = F.scaled_dot_product_attention(
        query_BHTD[:, :, :n_stream],
        stream_key,
        stream_value,
        attn_mask=visibility.stream_BLSS[:, group, None],
        scale=scaling,
    )
    if n_questions:
        query, key, value = (
            tensor[:, :, n_stream:].unflatten(2, (n_questions, visibility.n_question_tokens))
            for tensor in (query_BHTD * scaling, key_BHTD, value_BHTD)
        )
        tail_output, weights_BHQMS = _attend_tails(query, key, value, stream_key, stream_value, question_BQS)
        if visibility.evidence is not None:
            visibility.evidence.see(module.layer_idx, weights_BHQMS)
        output = torch.cat((output, tail_output.flatten(2, 3)), dim=2)
    return output.transpose(1, 2).contiguous(), None


def _attend_tails(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    stream_key: torch.Tensor,
    stream_value: torch.Tensor,
    question_BQS: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One softmax over the visible stream and the question's own past; tensors `[B, H, Q, M, D]` and `[B, H, S, D]`.

    Returns the output and the weights on the stream `[B, H, Q, M, S]`.
    """
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
    return from_stream + weights[..., n_stream:] @ value, weights[..., :n_stream]
