"""The bundled tiny Qwen3-VL: an ordinary configuration, ten rows for two frames of 64×96, one of DeepStack's taps.

Its text model begins with the weights of `tiny-qwen2.5-vl`, whose vision tower is also the teacher of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from hermes_stream.models.checkpoint_adapter import Prompts
from hermes_stream.models.qwen3_vl import PROMPTS
from hermes_stream.train.families import Span, TokenIds, vision_ids
from hermes_stream.train.patch_family import PatchFamily
from hermes_stream.train.pupils import copy_text_model, load_bundled, pupil_tokenizer, special_ids, text_sizes
from hermes_stream.train.teacher import Teacher
from hermes_stream.train.tiny_qwen2_5_vl import TinyQwen2_5VL

_HEAD_SIZE = 32
# Root mean square of queries and keys in the text model that is taken over: 1.0 to 1.9, alike in all heads of a layer.
_LOUDNESS = 1.5
# "<12.2 seconds>" in two tokens; minutes later in three.
_TIME_WORDS = (*(f"<{second}" for second in range(100)), *(f".{tenth} seconds>" for tenth in range(10)))


class TinyQwen3VL(PatchFamily):
    """See `families.Family`. Every grid stands between its time in words and the end of vision."""

    name: ClassVar[str] = "tiny-qwen3-vl"
    description: ClassVar[str] = (
        "vision tower of 4 layers with one tap of DeepStack, text model of 10 layers, 6 tokens and 4 words for two "
        "frames of 64×96"
    )
    time_axes: ClassVar[tuple[int, ...]] = (0, 1, 2)
    prompts: ClassVar[Prompts] = PROMPTS
    # A quarter of what a minute makes, separators included.
    stream_defaults: ClassVar[Mapping[str, float]] = {"fps": 2.0, "chunk": 8, "budget": 160}
    patch_size: ClassVar[int] = 16
    processor: ClassVar[str] = "Qwen3VLProcessor"
    video_processor: ClassVar[str] = "Qwen3VLVideoProcessor"

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        """With words for times."""
        tokenizer = pupil_tokenizer()
        tokenizer.add_tokens([AddedToken(word, normalized=False) for word in _TIME_WORDS])
        return tokenizer

    def make_teacher(self) -> Teacher:
        """`tiny-qwen2.5-vl`."""
        return Teacher(TinyQwen2_5VL(), load_bundled(TinyQwen2_5VL.name))

    def make_config(self, tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
        """Biases in attention, so that the weights of a Qwen2 text model fit."""
        vision = {
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 36,
            "deepstack_visual_indexes": [1],
            "out_hidden_size": 192,
        }
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
        text = {**text_sizes(tokenizer), "rope_parameters": rope, "head_dim": _HEAD_SIZE, "attention_bias": True}
        return Qwen3VLConfig(
            vision_config=vision, text_config=text, tie_word_embeddings=False, **special_ids(tokenizer)
        )

    def make_model(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(self.make_config(tokenizer))
        copy_text_model(load_bundled(TinyQwen2_5VL.name), model)
        for layer in model.model.language_model.layers:
            torch.nn.init.constant_(layer.self_attn.q_norm.weight, _LOUDNESS)
            torch.nn.init.constant_(layer.self_attn.k_norm.weight, _LOUDNESS)
        return model

    def span(self, times_seconds: Sequence[float], shape: tuple[int, int], token_ids: TokenIds) -> Span:
        seconds = sum(times_seconds) / len(times_seconds)
        before, after = token_ids(f"<{seconds:.1f} seconds><|vision_start|>"), token_ids("<|vision_end|>")
        rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
        corner, end = len(before), len(before) + max(shape)
        position_RN = np.concatenate(
            (
                np.tile(np.arange(corner), (3, 1)),
                corner + np.stack((np.zeros_like(rows), rows, columns)),
                np.tile(np.arange(end, end + len(after)), (3, 1)),
            ),
            axis=1,
        )
        return Span((*before, *vision_ids(shape), *after), position_RN, end + len(after))
