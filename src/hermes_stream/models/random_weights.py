"""Models of real shapes with random weights, for speed and memory: latency does not depend on the values.

Sizes are those of the published checkpoints' configurations. Their words mean nothing: the tokenizer is a bundled one.
"""

from __future__ import annotations

from typing import Any

_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}


def _llava_onevision(hidden: int, layers: int, heads: int, kv_heads: int, inner: int, *, tied: bool) -> dict[str, Any]:
    return {
        "model_type": "llava_onevision",
        "vision_config": _SIGLIP,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "tie_word_embeddings": tied,
        "text_config": {
            "model_type": "qwen2",
            "vocab_size": 152_000,
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
            "tie_word_embeddings": tied,
        },
    }


def _qwen2_5_vl(
    hidden: int, layers: int, heads: int, kv_heads: int, inner: int, *, vocabulary: int, vision_inner: int, tied: bool
) -> dict[str, Any]:
    return {
        "model_type": "qwen2_5_vl",
        "tie_word_embeddings": tied,
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": vision_inner,
            "num_heads": 16,
            "out_hidden_size": hidden,
            "patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
            "tokens_per_second": 2,
        },
        "text_config": {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": 128_000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            "tie_word_embeddings": tied,
        },
    }


def _qwen3_vl(
    hidden: int, layers: int, heads: int, inner: int, *, depth: int, vision_hidden: int, vision_inner: int,
    taps: list[int], tied: bool,
) -> dict[str, Any]:  # fmt: skip
    return {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": tied,
        "vision_config": {
            "depth": depth,
            "hidden_size": vision_hidden,
            "intermediate_size": vision_inner,
            "num_heads": 16,
            "out_hidden_size": hidden,
            "patch_size": 16,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": taps,
        },
        "text_config": {
            "vocab_size": 151_936,
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262_144,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20]},
            "tie_word_embeddings": tied,
        },
    }


_SMALL_VISION: dict[str, Any] = {"depth": 24, "vision_hidden": 1024, "vision_inner": 4096, "taps": [5, 11, 17]}
_LARGE_VISION: dict[str, Any] = {"depth": 27, "vision_hidden": 1152, "vision_inner": 4304, "taps": [8, 16, 24]}

RANDOM_CONFIGS: dict[str, dict[str, Any]] = {
    "llava-onevision-0.5b": _llava_onevision(896, 24, 14, 2, 4864, tied=True),
    "llava-onevision-7b": _llava_onevision(3584, 28, 28, 4, 18_944, tied=False),
    "llava-onevision-72b": _llava_onevision(8192, 80, 64, 8, 29_568, tied=False),
    "qwen2.5-vl-3b": _qwen2_5_vl(2048, 36, 16, 2, 11_008, vocabulary=151_936, vision_inner=3420, tied=True),
    "qwen2.5-vl-7b": _qwen2_5_vl(3584, 28, 28, 4, 18_944, vocabulary=152_064, vision_inner=3420, tied=False),
    "qwen2.5-vl-32b": _qwen2_5_vl(5120, 64, 40, 8, 27_648, vocabulary=152_064, vision_inner=3456, tied=False),
    "qwen2.5-vl-72b": _qwen2_5_vl(8192, 80, 64, 8, 29_568, vocabulary=152_064, vision_inner=3456, tied=False),
    "qwen3-vl-2b": _qwen3_vl(2048, 28, 16, 6144, tied=True, **_SMALL_VISION),
    "qwen3-vl-4b": _qwen3_vl(2560, 36, 32, 9728, tied=True, **_SMALL_VISION),
    "qwen3-vl-8b": _qwen3_vl(4096, 36, 32, 12_288, tied=False, **_LARGE_VISION),
    "qwen3-vl-32b": _qwen3_vl(5120, 64, 64, 25_600, tied=False, **_LARGE_VISION),
}

_SIGLIP_PIXELS = {"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CLIP_PIXELS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "min_pixels": 3136,
    "max_pixels": 12_845_056,
    "patch_size": 14,
    "merge_size": 2,
}
_QWEN3_PIXELS = {
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "size": {"shortest_edge": 4096, "longest_edge": 25_165_824},
    "patch_size": 16,
    "merge_size": 2,
}
PREPROCESSORS: dict[str, dict[str, Any]] = {
    "llava_onevision": _SIGLIP_PIXELS,
    "qwen2_5_vl": _CLIP_PIXELS,
    "qwen3_vl": _QWEN3_PIXELS,
}
