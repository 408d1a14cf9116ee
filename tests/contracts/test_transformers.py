"""What we rely on in transformers, so that an upgrade fails here and not somewhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from hermes_stream.models.attention_seam import use_attention
from tests.tiny import save_checkpoint

FAMILIES = ["llava_onevision", "qwen2_5_vl", "qwen3_vl"]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = save_checkpoint(request.param, tmp_path_factory.mktemp("contract") / request.param)
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def test_queries_and_keys_arrive_unrotated_with_our_keyword_and_no_mask(model: Any) -> None:
    calls: list[dict[str, Any]] = []

    def record(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **rest: Any) -> Any:
        calls.append({"layer": module.layer_idx, "query": query, "key": key, "value": value, "mask": mask, **rest})
        return torch.zeros(1, query.shape[2], query.shape[1], query.shape[3]), None

    use_attention(model, "contract", record)
    text = model.model.language_model
    embeddings = torch.randn(1, 6, 64)
    n_axes = 1 if model.config.model_type == "llava_onevision" else 3
    zeros = torch.zeros((1, 6) if n_axes == 1 else (3, 1, 6), dtype=torch.int64)
    with torch.no_grad():
        text(inputs_embeds=embeddings, position_ids=zeros, use_cache=False, memory="ours")
        attention = text.layers[0].self_attn
        hidden = text.layers[0].input_layernorm(embeddings)
        key = attention.k_proj(hidden).view(1, 6, 2, attention.head_dim)
        if hasattr(attention, "k_norm"):
            key = attention.k_norm(key)
    assert [call["layer"] for call in calls] == list(range(12))
    first = calls[0]
    assert first["mask"] is None
    assert first["memory"] == "ours"
    assert first["query"].shape == (1, 4, 6, attention.head_dim)
    assert first["value"].shape == (1, 2, 6, attention.head_dim)
    assert first["scaling"] == pytest.approx(attention.head_dim**-0.5)
    torch.testing.assert_close(first["key"], key.transpose(1, 2))


def test_the_vision_tower_keeps_its_own_attention(model: Any) -> None:
    use_attention(model, "contract", lambda *_, **__: pytest.fail("the vision tower must not come here"))
    tower = getattr(model.model, "vision_tower", None) or model.model.visual
    assert tower.config._attn_implementation != "contract"
    assert model.model.language_model.config._attn_implementation == "contract"


def test_rotary_tables_are_the_identity_at_zero_and_take_a_batch_axis(model: Any) -> None:
    rotary = model.model.language_model.rotary_emb
    n_axes = 1 if model.config.model_type == "llava_onevision" else 3
    positions = torch.zeros((2, 5) if n_axes == 1 else (3, 2, 5), dtype=torch.int64)
    cos, sin = rotary(torch.empty(0), positions)
    assert cos.shape == (2, 5, model.model.language_model.layers[0].self_attn.head_dim)
    assert torch.equal(cos, torch.ones_like(cos))
    assert torch.equal(sin, torch.zeros_like(sin))
    assert rotary.attention_scaling == 1.0
