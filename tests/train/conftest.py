"""A random tiny model, clips with random features, and the collator: enough for every test of the training code."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from hermes_stream.shapestream import make_script
from hermes_stream.train.architecture import TOKENS_PER_FRAME, make_config
from hermes_stream.train.collate import Collator
from hermes_stream.train.episodes import FeatureClip
from hermes_stream.train.tokenizer import make_tokenizer

HIDDEN = 48


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="session")
def collator(tokenizer: PreTrainedTokenizerFast) -> Collator:
    return Collator(tokenizer)


def small_model(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """The bundled architecture, narrower; the same weights at every call."""
    config = make_config(tokenizer)
    config.text_config.update({"hidden_size": HIDDEN, "intermediate_size": 64})
    config.text_config.update({"num_attention_heads": 6, "head_dim": HIDDEN // 6})
    torch.manual_seed(0)
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
        model.model.image_newline.normal_()
    return model


def random_clip(seed: int = 3, n_frames: int = 40, fps: float = 1.0) -> FeatureClip:
    """A script with features that have nothing to do with it."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n_frames, TOKENS_PER_FRAME, HIDDEN, generator=generator)
    times = tuple((index + 0.3) / fps for index in range(n_frames))
    return FeatureClip(make_script(seed, (n_frames + 2) / fps), fps, times, features)
