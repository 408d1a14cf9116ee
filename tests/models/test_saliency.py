"""The vision encoder's attention: equal to what the stock encoder's eager attention is, and free where nobody asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames, save_checkpoint


@torch.inference_mode()
def test_saliency_is_the_attention_that_patches_receive(llava_folder: Path) -> None:
    adapter: Any = load_adapter(str(llava_folder))
    frames = make_frames(3)
    stock: Any = LlavaOnevisionForConditionalGeneration.from_pretrained(llava_folder, attn_implementation="eager")
    pixels = adapter._preprocess(frames)
    seen = stock.model.vision_tower(pixels, output_attentions=True)
    received_FP = seen.attentions[-1].mean(dim=(1, 2))
    tokens = adapter.embed(frames, since_seconds=0.0, wants_saliency=True)
    expected = stock.model.apply_pooling(received_FP[..., None]).flatten()
    torch.testing.assert_close(tokens.saliency_N, expected, atol=1e-6, rtol=1e-5)
    assert float(expected.std() / expected.mean()) > 0.01  # something to tell apart
    plain = adapter.embed(frames, since_seconds=0.0)
    assert plain.saliency_N is None
    assert torch.equal(plain.embeddings_NE, tokens.embeddings_NE)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_the_facts_say_who_has_it(family: str, tmp_path: Path) -> None:
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family)))
    with torch.inference_mode():
        tokens = adapter.embed(make_frames(2), since_seconds=0.0, wants_saliency=adapter.facts.has_saliency)
    assert adapter.facts.has_saliency == (tokens.saliency_N is not None) == (family == "llava_onevision")
