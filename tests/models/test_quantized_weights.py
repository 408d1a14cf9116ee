"""Weights in fewer bits. What needs torchao is marked `quantized` and runs with `pytest -m quantized`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

from hermes_stream import Engine, KeepAll, load_model
from hermes_stream.errors import ConfigError, ModelError
from hermes_stream.models import quantization
from hermes_stream.models.load import load_adapter
from hermes_stream.models.quantization import stored_bytes
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.tiny import make_frames, save_checkpoint, save_llava_onevision


def settings(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return content


def test_stored_bytes_are_those_of_what_a_weight_is_made_of() -> None:
    model = torch.nn.Linear(4, 3)
    assert stored_bytes(model) == (12 + 3) * 4
    codes = torch.zeros(3, 4, dtype=torch.int8)
    model.weight = torch.nn.Parameter(TwoTensor(codes, codes.clone()), requires_grad=False)
    assert stored_bytes(model) == 12 + 12 + 3 * 4


@pytest.mark.parametrize("wanted", ["torchao-int8", "bitsandbytes-nf4"])
def test_a_missing_package_is_named(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = wanted.partition("-")[0]
    monkeypatch.setattr(quantization, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(ModelError, match=f"quantization '{wanted}' needs the package {package}: pip install {package}"):
        load_adapter(str(save_llava_onevision(tmp_path)), quantization=wanted)


def test_what_cannot_be_quantised_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_llava_onevision(tmp_path)
    with pytest.raises(ModelError, match="unknown quantization 'torchao-int9'; did you mean torchao-int8"):
        load_adapter(str(folder), quantization="torchao-int9")
    with pytest.raises(ConfigError, match="random weights are not quantised"):
        load_adapter("random:llava-onevision-0.5b", device="meta", quantization=object())
    saved = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    (folder / "config.json").write_text(json.dumps({**settings(folder), "quantization_config": saved}))
    with pytest.raises(ModelError, match="is quantised with compressed-tensors already; leave quantization out"):
        load_adapter(str(folder), quantization=object())
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="compressed-tensors, which needs the package compressed-tensors: pip install"):
        load_adapter(str(folder))


@pytest.mark.quantized
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_the_language_model_alone_is_quantised_and_answers_nearly_the_same(family: str, tmp_path: Path) -> None:
    folder = str(save_checkpoint(family, tmp_path / family))
    plain, quantised = load_adapter(folder), load_adapter(folder, quantization="torchao-int8")
    model = quantised._model  # type: ignore[attr-defined]
    n_saved, n_outputs = 0, 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            is_quantised = hasattr(module.weight, "__tensor_flatten__")
            assert is_quantised == name.startswith("model.language_model."), name
            # A byte for each number instead of four.
            n_saved += 3 * is_quantised * module.weight.numel()
            n_outputs += is_quantised * module.weight.shape[0]
    # For each output a scale, and perhaps a zero point.
    of_scales = quantised.facts.weight_bytes - (plain.facts.weight_bytes - n_saved)
    assert 4 * n_outputs <= of_scales <= 8 * n_outputs
    assert (plain.facts.quantization, quantised.facts.quantization) == (None, "torchao")
    assert quantised.facts.n_parameters == plain.facts.n_parameters
    streams = [open_direct(adapter, KeepAll()) for adapter in (plain, quantised)]
    for stream in streams:
        watch_direct(stream, make_frames(4), 4)
    exact_V, near_V = (question_logits(stream, "red or green?") for stream in streams)
    off = float((near_V - exact_V).norm() / exact_V.norm())
    assert 0 < off < 0.05


@pytest.mark.quantized
@pytest.mark.filterwarnings("default")
def test_a_checkpoint_that_was_saved_quantised_loads_by_itself(tmp_path: Path) -> None:
    folder = save_llava_onevision(tmp_path)
    first = load_adapter(str(folder), quantization="torchao-int8")
    first._model.save_pretrained(folder)  # type: ignore[attr-defined]
    with Engine(first) as ours, load_model(str(folder)) as theirs:
        assert theirs.model.quantization == "torchao"
        assert theirs.model.weight_bytes == ours.model.weight_bytes
        answers = []
        for engine in (ours, theirs):
            session = engine.open("hermes", budget=30)
            session.watch(make_frames(5))
            answers.append(session.ask("left?", max_new_tokens=4).result().token_ids)
        assert answers[0] == answers[1]
