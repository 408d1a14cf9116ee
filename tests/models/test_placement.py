"""Where a model stands: one device, a map, or several, with each layer's memory beside the layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from hermes_stream import KeepAll, Policy
from hermes_stream.errors import ConfigError, ModelError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.models import placement
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.tiny import make_frames, save_checkpoint

META, CPU = torch.device("meta"), torch.device("cpu")
FIRST_AWAY = 5


def test_a_map_with_one_device_is_that_device(llava_folder: Path) -> None:
    frames = make_frames(4)
    logits = []
    for where in ({"device": "cpu"}, {"device_map": {"": "cpu"}}, {"device_map": "cpu"}):
        adapter = load_adapter(str(llava_folder), **where)
        assert adapter.facts.device == CPU
        assert adapter.facts.layer_devices == ()
        stream = open_direct(adapter, KeepAll())
        watch_direct(stream, frames, 4)
        logits.append(question_logits(stream, "What?"))
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_maps_that_cannot_be_are_refused_in_one_line(llava_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(llava_folder)
    with pytest.raises(ConfigError, match="device 'cpu' and device_map 'auto' were given; give one"):
        load_adapter(name, device="cpu", device_map="auto")
    with pytest.raises(ConfigError, match="device_map is empty"):
        load_adapter(name, device_map={})
    with pytest.raises(ModelError, match="device 'everywhere' is unknown"):
        load_adapter(name, device_map="everywhere")
    with pytest.raises(ModelError, match="'cuda:1': this PyTorch sees no CUDA device"):
        load_adapter(name, device_map={"model": 1, "lm_head": "cpu"})
    with pytest.raises(ModelError, match="'disk' is unknown"):
        load_adapter(name, device_map={"model": "disk", "lm_head": "cpu"})
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'hermes-stream\[large\]'"):
        load_adapter(name, device_map="auto")


@pytest.mark.parametrize("device_map", ["auto", {"model": "cpu", "lm_head": "cpu"}])
def test_accelerate_places_the_model(llava_folder: Path, device_map: Any) -> None:
    frames = make_frames(4)
    logits = []
    for where in ({"device": "cpu"}, {"device_map": device_map}):
        stream = open_direct(load_adapter(str(llava_folder), **where), KeepAll())
        watch_direct(stream, frames, 4)
        logits.append(question_logits(stream, "What?"))
    assert torch.equal(*logits)


def test_random_weights_are_made_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda _: True)
    with pytest.raises(ConfigError, match="give device instead of device_map"):
        load_adapter("random:llava-onevision-0.5b", device_map="auto")


class _Folds(Policy):
    """Keeps every other row and folds the rest, in all layers."""

    name: ClassVar[str] = "folds"

    def after_chunk(self, view: Any, state: Any) -> tuple[Plan, Any]:
        rows = torch.arange(view.layers[0].n_rows)
        layer = LayerPlan(rows[::2], (Fold(rows[1::2], "equal"),))
        return Plan((layer,) * view.n_layers, Positions.COMPACT), state


@pytest.mark.parametrize("keep_raw", [True, False])
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_layer_on_another_device_has_its_memory_there(tmp_path: Path, family: str, keep_raw: bool) -> None:
    """The device meta stands in for a second accelerator: it has no numbers, but operations that mix devices fail.

    What is on it cannot be read, so the layers before it are compared, and shapes and places of those on it.
    """
    folder = save_checkpoint(family, tmp_path / family)
    whole, split = load_adapter(str(folder)), _split(load_adapter(str(folder)))
    streams = [open_direct(adapter, _Folds(budget=300), keep_raw=keep_raw) for adapter in (whole, split)]
    for stream in streams:
        watch_direct(stream, make_frames(12, seed=3), 4)
    for index, (expected, found) in enumerate(zip(*(stream.memory.current.layers for stream in streams), strict=True)):
        assert found.keys.device == found.values.device == (META if index >= FIRST_AWAY else CPU)
        assert found.table.data_CHN.device == CPU
        assert found.keys.shape == expected.keys.shape
        if index < FIRST_AWAY:
            assert torch.equal(found.keys, expected.keys)
            assert torch.equal(found.values, expected.values)
    assert streams[1].n_compressions == 3


def _split(adapter: Any) -> Any:
    """Move the later layers away, as accelerate's hooks would: what enters them comes along."""
    text = adapter._text_model
    for module in (*text.layers[FIRST_AWAY:], text.norm):
        module.to(META)
        module.register_forward_pre_hook(_bring, with_kwargs=True)
    devices = tuple(META if index >= FIRST_AWAY else CPU for index in range(adapter.facts.n_layers))
    adapter.facts = replace(adapter.facts, layer_devices=devices)
    return adapter


def _bring(module: Any, positional: Any, named: dict[str, Any]) -> Any:
    return tuple(map(_moved, positional)), {name: _moved(value) for name, value in named.items()}


def _moved(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_moved, value))
    return value.to(META) if isinstance(value, torch.Tensor) else value
