"""The bundled tiny LLaVA-OneVision: an ordinary configuration, four tokens for a frame of 48×48."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from hermes_stream.models.checkpoint_adapter import Prompts
from hermes_stream.models.llava_onevision import PROMPTS
from hermes_stream.train.families import Family, Span, TokenIds, vision_ids
from hermes_stream.train.pixels import PIXEL_SETTINGS, normalise, processor_files
from hermes_stream.train.tokenizer import IM_END, IMAGE, VIDEO, make_tokenizer

FRAME_PIXELS = 48
TOKENS_PER_FRAME = 4
POSITION_LIMIT = 2048


class TinyLlava(Family):
    """See `families.Family`. One frame a second; every token takes a position, and the newline opens a question."""

    name: ClassVar[str] = "tiny-llava-onevision"
    description: ClassVar[str] = "SigLIP tower, Qwen2 text model of 10 layers, 4 tokens for a frame of 48×48"
    n_axes: ClassVar[int] = 1
    time_axes: ClassVar[tuple[int, ...]] = (0,)
    frames_per_grid: ClassVar[int] = 1
    position_limit: ClassVar[int] = POSITION_LIMIT
    has_newline: ClassVar[bool] = True
    prompts: ClassVar[Prompts] = PROMPTS
    # A rate of one frame a second is what the checkpoint is made for; the others keep it from counting on it.
    rates: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 1.0, 0.5, 2.0, 2.0, 3.0, 1.5)
    # One frame in three seconds: hardly two alike.
    warmup_rate: ClassVar[float] = 0.3
    # A 60-second clip makes 240 tokens and exceeds this budget.
    stream_defaults: ClassVar[Mapping[str, float]] = {"fps": 1.0, "chunk": 4, "budget": 64}

    @property
    def processors(self) -> Mapping[str, Mapping[str, Any]]:
        settings = {**PIXEL_SETTINGS, "size": {"height": FRAME_PIXELS, "width": FRAME_PIXELS}}
        kinds = (f"LlavaOnevision{kind}Processor" for kind in ("", "Video", "Image"))
        return processor_files(settings, *kinds)

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        return make_tokenizer()

    def make_config(self, tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionConfig:
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

    def make_model(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaOnevisionForConditionalGeneration:
        """Freshly initialised."""
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(self.make_config(tokenizer))
        with torch.no_grad():
            # Words enter the residual stream as loudly as frames, whose features are scaled to unit variance.
            model.get_input_embeddings().weight.normal_(0.0, 1.0)
            model.model.image_newline.normal_(0.0, 1.0)
        return model

    def make_teacher(self) -> None:
        """Trained from nothing."""
        return

    def frame_size(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002
        """All frames alike."""
        return FRAME_PIXELS, FRAME_PIXELS

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:  # noqa: ARG002
        """Patches pooled to two by two."""
        return 2, 2

    def encode(self, model: Any, pixels_GFCYX: torch.Tensor) -> torch.Tensor:
        """The model's video path without its closing newline."""
        pixels = normalise(pixels_GFCYX.flatten(0, 1))[None].to(model.dtype)
        features: torch.Tensor = model.get_video_features(pixels, return_dict=True).pooler_output
        return features[0, :-1].reshape(len(pixels_GFCYX), TOKENS_PER_FRAME, -1)

    def vision_weights(self, model: Any) -> list[torch.nn.Parameter]:
        """Tower and projector."""
        return [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]

    def last_vision_layer(self, model: Any) -> torch.nn.Linear:
        """The projector's second."""
        layer: torch.nn.Linear = model.model.multi_modal_projector.linear_2
        return layer

    def newline(self, model: Any) -> torch.nn.Parameter:
        """The model's `image_newline`."""
        newline: torch.nn.Parameter = model.model.image_newline
        return newline

    def span(self, times_seconds: Sequence[float], shape: tuple[int, int], token_ids: TokenIds) -> Span:  # noqa: ARG002
        """Four positions a frame, whatever its time."""
        return Span(vision_ids(shape), np.arange(TOKENS_PER_FRAME)[None], TOKENS_PER_FRAME)
