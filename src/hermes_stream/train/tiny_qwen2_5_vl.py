"""The bundled tiny Qwen2.5-VL: an ordinary configuration, six tokens for two frames of 56×84, absolute time.

Its text model begins with the weights of `tiny-llava-onevision`, whose text model has the same sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from hermes_stream.models.checkpoint_adapter import Prompts
from hermes_stream.models.qwen2_5_vl import PROMPTS
from hermes_stream.train.families import Span, TokenIds, vision_ids
from hermes_stream.train.patch_family import PatchFamily
from hermes_stream.train.pupils import copy_text_model, load_bundled, special_ids, text_sizes
from hermes_stream.train.tiny_llava import TinyLlava

TOKENS_PER_SECOND = 4
_TIME_SLACK = 1e-6


class TinyQwen2_5VL(PatchFamily):  # noqa: N801
    """See `families.Family`. A grid of two frames at two frames a second covers one second, four positions."""

    name: ClassVar[str] = "tiny-qwen2.5-vl"
    description: ClassVar[str] = "vision tower of 4 layers, text model of 10 layers, 6 tokens for two frames of 56×84"
    time_axes: ClassVar[tuple[int, ...]] = (0,)
    prompts: ClassVar[Prompts] = PROMPTS
    patch_size: ClassVar[int] = 14
    processor: ClassVar[str] = "Qwen2_5_VLProcessor"
    video_processor: ClassVar[str] = "Qwen2VLVideoProcessor"

    def make_config(self, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
        """Time owns the eight highest of sixteen frequencies, rows and columns the rest."""
        vision = {
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "tokens_per_second": TOKENS_PER_SECOND,
            "window_size": 112,
            "fullatt_block_indexes": [1, 3],
            "out_hidden_size": 192,
        }
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]}
        return Qwen2_5_VLConfig(
            vision_config=vision,
            text_config={**text_sizes(tokenizer), "rope_parameters": rope},
            tie_word_embeddings=False,
            **special_ids(tokenizer),
        )

    def make_model(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(self.make_config(tokenizer))
        source = load_bundled(TinyLlava.name)
        copy_text_model(source, model)
        # What opens a question.
        with torch.no_grad():
            model.get_input_embeddings().weight[model.config.vision_end_token_id] = source.model.image_newline
        return model

    def span(self, times_seconds: Sequence[float], shape: tuple[int, int], token_ids: TokenIds) -> Span:  # noqa: ARG002
        time = math.floor(TOKENS_PER_SECOND * times_seconds[0] + _TIME_SLACK)
        rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
        return Span(vision_ids(shape), np.stack((np.full_like(rows, time), rows, columns)), n_positions=0)
