"""What the Qwen families take over from `tiny-llava-onevision`: its words, its sizes, its text model to begin with."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerFast

from hermes_stream.models.load import bundled_models
from hermes_stream.train.tiny_llava import TinyLlava
from hermes_stream.train.tokenizer import IM_END

VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"


def load_bundled(name: str) -> Any:
    """A bundled checkpoint in float32."""
    return AutoModelForImageTextToText.from_pretrained(bundled_models()[name], dtype=torch.float32).eval()


def pupil_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of `tiny-llava-onevision` with the special tokens of Qwen-VL behind its own."""
    tokenizer = AutoTokenizer.from_pretrained(bundled_models()[TinyLlava.name])
    special = [VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD]
    tokenizer.add_special_tokens({"additional_special_tokens": special}, replace_extra_special_tokens=False)
    return tokenizer


def text_sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The sizes of the teacher's text model, which those of its pupils share, for a vocabulary of their own."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 448,
        "num_hidden_layers": 10,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(IM_END),
        "pad_token_id": tokenizer.pad_token_id,
    }


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The configuration's names for the special tokens."""
    names = {
        "image_token_id": IMAGE_PAD,
        "video_token_id": VIDEO_PAD,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
    }
    return {name: int(tokenizer.convert_tokens_to_ids(token)) for name, token in names.items()}


@torch.no_grad()
def copy_text_model(source: Any, model: Any) -> None:
    """Copy a text model of the same sizes with its words and head; what the source lacks stays as it is.

    New words are drawn as loud as the old ones, and none is more likely than an average one.
    """
    ours = model.model.language_model.state_dict()
    for name, weight in source.model.language_model.state_dict().items():
        if name == "embed_tokens.weight":
            ours[name].normal_(0.0, float(weight.std()))
        ours[name][: len(weight)].copy_(weight)
    head = source.lm_head.weight
    model.lm_head.weight.copy_(head.mean(0))
    model.lm_head.weight[: len(head)] = head
