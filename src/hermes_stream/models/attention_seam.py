"""The only file that knows how transformers runs attention.

The text model is called with all position ids 0, so that its rotary embedding is the identity and queries and keys
arrive here un-rotated; the batch that travels along as the keyword argument `memory` rotates, stores and attends.
No mask function is registered under our name, so transformers builds no mask.

Shape letters: B batch (always 1), H query heads, K key/value heads, T new tokens, D head dimension, R axes, E width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from hermes_stream.errors import ModelError
from hermes_stream.models.adapter import Batch

ATTENTION_NAME = "hermes_stream"
_UNSUPPORTED_ROPE = frozenset({"dynamic", "longrope"})


def _attention(
    module: nn.Module,
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    memory: Batch | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if memory is None:
        raise ModelError("this text model is attached to hermes-stream and cannot be called directly; use an Engine")
    if attention_mask is not None:
        raise ModelError("transformers built an attention mask for hermes-stream; this version is not supported")
    layer_index = int(module.layer_idx)  # type: ignore[arg-type]
    out_HTD = memory.attend(layer_index, query_BHTD[0], key_BKTD[0], value_BKTD[0], scaling)
    return out_HTD.transpose(0, 1)[None].contiguous(), None


def attach(model: nn.Module, text_config: Any) -> None:
    """Route the attention of the model's text tower, and only of it, through the batch that comes along.

    Raises ModelError for position schemes or layers that the memory cannot serve.
    """
    refuse_unsupported(text_config)
    use_attention(model, ATTENTION_NAME, _attention)


def use_attention(model: nn.Module, name: str, function: Callable[..., Any]) -> None:
    """Let the model's text tower, and only it, attend through a function, without any mask by transformers.

    The choice lives on the model's configuration: a model object has one attention for life.
    """
    AttentionInterface.register(name, function)
    model.set_attn_implementation({"text_config": name})  # type: ignore[operator]


def run_text_model(text_model: nn.Module, batch: Batch, n_axes: int) -> torch.Tensor:
    """One packed forward without a cache; returns the last hidden states `[T, E]`."""
    embeddings_TE = batch.embeddings_TE
    shape = (1, embeddings_TE.shape[0]) if n_axes == 1 else (n_axes, 1, embeddings_TE.shape[0])
    zeros = torch.zeros(shape, dtype=torch.int64, device=embeddings_TE.device)
    taps: dict[str, Any] = {}
    if batch.deepstack is not None:
        is_visual_T, added = batch.deepstack
        taps = {"visual_pos_masks": is_visual_T[None], "deepstack_visual_embeds": added}
    output = text_model(inputs_embeds=embeddings_TE[None], position_ids=zeros, use_cache=False, memory=batch, **taps)
    hidden_TE: torch.Tensor = output.last_hidden_state[0]
    return hidden_TE


def project_text(
    text_model: Any, layer_index: int, embeddings_TE: torch.Tensor, n_axes: int
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Un-rotated queries `[H, T, D]` and keys `[K, T, D]` that a layer makes of embeddings given as its input.

    The layer's own attention module computes them (biases, norms of heads and all), up to our attention function.
    """
    layer = text_model.layers[layer_index]
    inputs_BTE = embeddings_TE[None].to(layer.input_layernorm.weight.device)
    shape = (1, embeddings_TE.shape[0]) if n_axes == 1 else (n_axes, 1, embeddings_TE.shape[0])
    zeros = torch.zeros(shape, dtype=torch.int64, device=inputs_BTE.device)
    listener = _Listener()
    layer.self_attn(
        hidden_states=layer.input_layernorm(inputs_BTE),
        position_embeddings=text_model.rotary_emb(inputs_BTE, zeros),
        attention_mask=None,
        memory=listener,
    )
    return listener.heard


class _Listener:
    """Stands where a batch would, and keeps what the layer brings."""

    heard: tuple[torch.Tensor, torch.Tensor, float]

    def attend(
        self,
        layer_index: int,  # noqa: ARG002
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,  # noqa: ARG002
        scaling: float,
    ) -> torch.Tensor:
        self.heard = query_HTD, key_KTD, scaling
        return torch.zeros_like(query_HTD)


def run_stock_text_model(
    model: nn.Module,
    text_model: nn.Module,
    embeddings_TE: torch.Tensor,
    position_RT: torch.Tensor,
    deepstack: tuple[torch.Tensor, list[torch.Tensor]] | None,
    *,
    want_attentions: bool,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The same weights with transformers' own eager attention and causal mask, at true positions: for self-checks.

    Returns hidden states `[T, E]` and attention weights per layer `[1, H, T, T]` (empty unless wanted). Must not run
    while an engine uses the model: the attention's name lives on the model's configuration.
    """
    position_ids = position_RT if position_RT.shape[0] == 1 else position_RT[:, None]
    taps: dict[str, Any] = {}
    if deepstack is not None:
        taps = {"visual_pos_masks": deepstack[0][None], "deepstack_visual_embeds": deepstack[1]}
    model.set_attn_implementation({"text_config": "eager"})  # type: ignore[operator]
    try:
        output = text_model(
            inputs_embeds=embeddings_TE[None],
            # Without one, a gap between positions is taken for the start of another packed sequence.
            attention_mask=torch.ones_like(position_RT[:1]),
            position_ids=position_ids,
            use_cache=False,
            output_attentions=want_attentions,
            **taps,
        )
    finally:
        model.set_attn_implementation({"text_config": ATTENTION_NAME})  # type: ignore[operator]
    return output.last_hidden_state[0], output.attentions if want_attentions else ()


class ModelRope:
    """The model's own rotary embedding, at true positions and as a pure rotation."""

    def __init__(self, rotary_embedding: nn.Module, n_axes: int) -> None:
        self._rotary = rotary_embedding
        self._n_axes = n_axes

    def tables(self, position_RN: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin `[..., N, D]` for positions `[R, ..., N]`.

        YaRN multiplies both by a factor, which the zero positions have already put on queries and keys once.
        """
        wanted = torch.empty(0, dtype=dtype, device=position_RN.device)
        # The rotary modules want a batch axis; table heads serve as one.
        position_RBN = position_RN if position_RN.dim() == 3 else position_RN[:, None]
        cos, sin = self._rotary(wanted, position_RBN if self._n_axes > 1 else position_RBN[0])
        if position_RN.dim() == 2:
            cos, sin = cos[0], sin[0]
        scaling = float(self._rotary.attention_scaling)  # type: ignore[arg-type]
        return (cos, sin) if scaling == 1.0 else (cos / scaling, sin / scaling)


def refuse_unsupported(text_config: Any) -> None:
    """Raise ModelError for position schemes or layers that the memory cannot serve."""
    rope_type = (text_config.rope_parameters or {}).get("rope_type", "default")
    if rope_type in _UNSUPPORTED_ROPE:
        raise ModelError(
            f"rope type {rope_type!r} changes its frequencies with the longest input, so stored keys would no longer "
            "match; use a checkpoint with default, linear, llama3 or yarn positions"
        )
    layer_types = set(getattr(text_config, "layer_types", None) or ["full_attention"])
    if layer_types != {"full_attention"}:
        others = ", ".join(sorted(layer_types - {"full_attention"}))
        raise ModelError(f"layers of type {others} are not supported; only full attention is")
