"""Engines in bfloat16 and float16: memory, probes and summaries work, and what must be exact is in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, Hermes
from hermes_stream.memory.plan import Fold, LayerPlan, Plan
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames, save_checkpoint

from .direct import open_direct, question_logits, watch_direct
from .test_probe import Listener

N_LAYERS = 3
QUESTION = "red or green?"
# Steps between numbers near 1, and what a few layers make of them.
TOLERANCE = {"bfloat16": 2**-8 * 12, "float16": 2**-11 * 12}


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(
        request.param, tmp_path_factory.mktemp(request.param) / request.param, num_hidden_layers=N_LAYERS
    )


def what_is_heard_and_said(adapter: Adapter) -> tuple[list[torch.Tensor], torch.Tensor]:
    """A probe's attention in each layer, and a question's logits, over eight frames."""
    listener = Listener(views=[])
    stream = open_direct(adapter, listener)
    watch_direct(stream, make_frames(8), 4)
    return [layer.mass["first"] for layer in listener.views[-1].layers], question_logits(stream, QUESTION)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_probes_and_answers_are_those_of_float32_but_for_rounding(folder: Path, dtype: str) -> None:
    exact_mass, exact_V = what_is_heard_and_said(load_adapter(str(folder), dtype="float32"))
    mass, logits_V = what_is_heard_and_said(load_adapter(str(folder), dtype=dtype))
    assert float((logits_V.float() - exact_V).norm() / exact_V.norm()) < TOLERANCE[dtype]
    for ours_KN, exact_KN in zip(mass, exact_mass, strict=True):
        assert ours_KN.dtype == torch.float32
        assert float((ours_KN - exact_KN).abs().sum() / exact_KN.sum()) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_memory_is_held_folded_and_asked_in_its_own_precision(folder: Path, dtype: str) -> None:
    adapter = load_adapter(str(folder), dtype=dtype)
    budget = 2 * adapter.facts.tokens_per_frame
    with Engine(adapter) as engine:
        for memory_bits in (16, 8):
            session = engine.open(Hermes(budget=budget, memory_bits=memory_bits), chunk=4)
            session.watch(make_frames(10))
            session.check_invariants()
            assert session.stats.n_compressions > 0
            layer = session.memory.layers[0]
            assert layer.keys.dtype == layer.values.dtype == adapter.facts.dtype
            assert bool(torch.cat((layer.keys, layer.values)).isfinite().all())
            assert session.ask(QUESTION, max_new_tokens=3).result().token_ids


def test_a_summary_is_a_mean_in_float32_that_is_rounded_once(folder: Path) -> None:
    """Of 36 rows: one after the other in bfloat16 they would be off by more than half a step."""
    adapter = load_adapter(str(folder), dtype="bfloat16")
    stream = open_direct(adapter, Listener(views=[], is_silent=True))
    watch_direct(stream, make_frames(8), 4)
    memory = stream.memory
    old, first = memory.current.layers[0], memory.current.n_prefix
    n = old.n_held - first
    memory.apply(Plan((LayerPlan(torch.empty(0, dtype=torch.int64), (Fold(torch.arange(n)),)),) * N_LAYERS))
    summary_KD = memory.current.layers[0].values[:, -1]
    mean_KD = old.values[:, first:].double().mean(dim=1)
    assert bool(((summary_KD.double() - mean_KD).abs() <= mean_KD.abs() * 2**-8 + 1e-6).all())
