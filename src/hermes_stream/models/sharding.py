"""How a model's weights are spread over several processes: each has its part of the heads and of the feed-forward."""

from __future__ import annotations

from typing import Any

from hermes_stream.errors import ModelError

# Families whose text model has a plan in transformers.
_FAMILIES = ("llava_onevision", "qwen2_5_vl")


def check_heads(name: str, config: Any, n_ranks: int) -> None:
    """Raise ModelError for a family without a plan, and where heads or feed-forward do not divide."""
    if config.model_type not in _FAMILIES:
        raise ModelError(
            f"{name}: transformers has no plan for spreading {config.model_type!r} over devices by heads; supported: "
            f"{', '.join(_FAMILIES)}; give device_map instead of tensor_parallel"
        )
    text = config.text_config
    sizes = {
        "key/value heads": text.num_key_value_heads,
        "attention heads": text.num_attention_heads,
        "feed-forward units": text.intermediate_size,
    }
    for what, n in sizes.items():
        if n % n_ranks:
            raise ModelError(
                f"{name}: {n} {what} do not divide among {n_ranks} devices; give tensor_parallel a divisor of "
                f"{text.num_key_value_heads}"
            )


def sharding(n_ranks: int) -> Any:
    """What `from_pretrained` takes: the family's plan, with embeddings and logits whole on every rank.

    The first rank embeds text and reads logits while no other takes part.
    """
    from transformers import DistributedConfig

    whole = {"model.language_model.embed_tokens": "replicate", "lm_head": "replicate"}
    return DistributedConfig(tp_size=n_ranks, tp_plan=whole)
