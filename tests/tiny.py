"""Random checkpoints of real model classes, small enough to run in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)

from hermes_stream.types import Frame

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
CORPUS = ["Which colour is the circle?", "You are a helpful assistant.", "red green blue left right yes no user system"]


def make_tokenizer(special: list[str] = SPECIAL) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any string can be encoded."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def llava_onevision_config(**text: object) -> LlavaOnevisionConfig:
    """12 layers, 4 query and 2 key/value heads of 16, 5 x 5 patches pooled to 3 x 3."""
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=40,
            patch_size=8,
        ),
        text_config={
            "model_type": "qwen2",
            "vocab_size": 400,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 12,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            **text,
        },
        image_token_index=SPECIAL.index("<image>"),
        video_token_index=SPECIAL.index("<video>"),
        image_token_id=SPECIAL.index("<image>"),
        video_token_id=SPECIAL.index("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


def save_llava_onevision(folder: Path, *, seed: int = 0, **text: object) -> Path:
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(llava_onevision_config(**text))
    with torch.no_grad():
        for parameter in model.parameters():
            # Large enough that attention is not uniform and wrong positions show in the logits.
            parameter.add_(torch.randn_like(parameter) * 0.08)
    model.generation_config.eos_token_id = SPECIAL.index("<|im_end|>")
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    settings = {
        "size": {"height": 40, "width": 40},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 1 / 255,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "hermes_stream.json").write_text(json.dumps({"fps": 1, "chunk": 4, "budget": 48}))
    return folder


def make_frames(n: int, *, seed: int = 0, height: int = 36, width: int = 64, start: int = 0) -> list[Frame]:
    """Noisy frames, one a second; every frame is different."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (start + n, height, width, 3), dtype=np.uint8)
    return [Frame(float(index), images[index]) for index in range(start, start + n)]


QWEN_SPECIAL = [*SPECIAL, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def _qwen_text(**text: object) -> dict[str, object]:
    """12 layers, 4 query and 2 key/value heads of 16, rotary sections 2 + 3 + 3."""
    return {
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        **text,
    }


def _qwen_ids() -> dict[str, int]:
    return {
        "image_token_id": QWEN_SPECIAL.index("<|image_pad|>"),
        "video_token_id": QWEN_SPECIAL.index("<|video_pad|>"),
        "vision_start_token_id": QWEN_SPECIAL.index("<|vision_start|>"),
        "vision_end_token_id": QWEN_SPECIAL.index("<|vision_end|>"),
    }


def qwen2_5_vl_config(**text: object) -> Qwen2_5_VLConfig:
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": 64,
        "window_size": 16, "fullatt_block_indexes": [1], "tokens_per_second": 2,
    }  # fmt: skip
    return Qwen2_5_VLConfig(vision_config=vision, text_config=_qwen_text(**text), **_qwen_ids())


def qwen3_vl_config(**text: object) -> Qwen3VLConfig:
    """Heads of 16 although 64 / 4 is 16 too; two DeepStack taps."""
    vision = {
        "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": 64,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    return Qwen3VLConfig(vision_config=vision, text_config=_qwen_text(head_dim=32, **text), **_qwen_ids())


def save_qwen(
    folder: Path, model: Qwen2_5_VLForConditionalGeneration | Qwen3VLForConditionalGeneration, *, seed: int = 0
) -> Path:
    """Frames of 36 x 64 become 4 x 8 tokens a grid."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    model.generation_config.eos_token_id = SPECIAL.index("<|im_end|>")
    model.save_pretrained(folder)
    make_tokenizer(QWEN_SPECIAL).save_pretrained(folder)
    settings = {
        "size": {"shortest_edge": 8 * 8 * 4, "longest_edge": 36 * 64},
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        "rescale_factor": 1 / 255,
        "resample": 3,
        "patch_size": 4,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "hermes_stream.json").write_text(json.dumps({"fps": 1, "chunk": 4, "budget": 100}))
    return folder


def save_checkpoint(family: str, folder: Path, **text: object) -> Path:
    """A random checkpoint of a family, by its model type."""
    torch.manual_seed(1)
    if family == "llava_onevision":
        return save_llava_onevision(folder, **text)
    if family == "qwen2_5_vl":
        return save_qwen(folder, Qwen2_5_VLForConditionalGeneration(qwen2_5_vl_config(**text)))
    return save_qwen(folder, Qwen3VLForConditionalGeneration(qwen3_vl_config(**text)))
