"""Random tiny models of each family, clips with random features, and collators: enough for every test of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from hermes_stream.shapestream import make_script
from hermes_stream.train.collate import Collator
from hermes_stream.train.episodes import FeatureClip
from hermes_stream.train.families import Family
from hermes_stream.train.run import FAMILIES
from hermes_stream.train.tokenizer import make_tokenizer

HIDDEN = 48


@dataclass(frozen=True, eq=False)
class Workshop:
    """A family with its tokenizer and collator, and models and clips of its kind."""

    family: Family
    tokenizer: PreTrainedTokenizerFast
    collator: Collator

    def model(self) -> Any:
        """The bundled architecture, narrower, random and wide awake; the same weights at every call."""
        config = self.family.make_config(self.tokenizer)
        config.text_config.update({"hidden_size": HIDDEN, "intermediate_size": 64, "head_dim": HIDDEN // 6})
        if self.family.n_axes > 1:
            config.text_config.rope_parameters["mrope_section"] = [2, 1, 1]
            config.vision_config.out_hidden_size = HIDDEN
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
            model.get_input_embeddings().weight.normal_()
        return model

    def clip(self, seed: int = 3, n_grids: int = 40, fps: float | None = None) -> FeatureClip:
        """A script with features that have nothing to do with it."""
        per_grid = self.family.frames_per_grid
        fps, shape = fps or float(per_grid), (2, 2) if per_grid == 1 else (2, 3)
        n_frames = n_grids * per_grid
        generator = torch.Generator().manual_seed(seed)
        width = HIDDEN * (2 if "qwen3" in self.family.name else 1)
        features = torch.randn(n_frames, shape[0] * shape[1], width, generator=generator)
        times = tuple((index + 0.3) / fps for index in range(n_frames))
        return FeatureClip(make_script(seed, (n_frames + 2) / fps), fps, times, features, shape, per_grid)


@cache
def workshop_of(name: str) -> Workshop:
    """The workshop of a bundled checkpoint."""
    family = FAMILIES[name]
    tokenizer = family.make_tokenizer()
    return Workshop(family, tokenizer, Collator(family, tokenizer))


@pytest.fixture(params=sorted(FAMILIES))
def workshop(request: pytest.FixtureRequest) -> Workshop:
    """Of every family in turn."""
    return workshop_of(request.param)


@pytest.fixture
def llava() -> Workshop:
    """Where the family does not matter."""
    return workshop_of("tiny-llava-onevision")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()
