"""The shape of the bundled tiny LLaVA-OneVision: an ordinary configuration, four tokens per 48×48 frame."""

from __future__ import annotations

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from hermes_stream.train.tokenizer import IM_END, IMAGE, VIDEO

FRAME_PIXELS = 48
TOKENS_PER_FRAME = 4
POSITION_LIMIT = 2048


def make_config(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionConfig:
    """Explicit sizes: 10 decoder layers, so that the 10/60/30 split of HERMES has three groups."""
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "image_size": FRAME_PIXELS,
        "patch_size": 12,
        "vision_use_head": False,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 448,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": POSITION_LIMIT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(IM_END),
        "pad_token_id": tokenizer.pad_token_id,
    }
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids(VIDEO),
        image_grid_pinpoints=[[FRAME_PIXELS, FRAME_PIXELS]],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaOnevisionForConditionalGeneration:
    """A freshly initialised model in float32."""
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(make_config(tokenizer))
    with torch.no_grad():
        # Words enter the residual stream as loudly as frames, whose features are scaled to unit variance.
        model.get_input_embeddings().weight.normal_(0.0, 1.0)
        model.model.image_newline.normal_(0.0, 1.0)
    return model
