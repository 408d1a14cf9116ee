"""Floors: counted as things run, and as the design's arithmetic has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hermes_stream import KeepAll, Query
from hermes_stream.bench.cost_count import chunk_flops
from hermes_stream.bench.floor import FloorRow, Rates, Work, frame_work, kv_bytes, question_work
from hermes_stream.bench.floor_measure import figures_of, floor_rows, measure_figures
from hermes_stream.bench.rates import measure_rates
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.question import Question
from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, watch_direct
from tests.tiny import make_frames

H200 = Rates(bytes_per_second=4.3e12, flops_per_second=790e12)
BF16 = 2


@pytest.fixture(scope="module")
def tiny(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


def test_a_7b_model_on_an_h200_is_as_the_design_counts_it() -> None:
    """15.2 GB of weights, 57,344 bytes a token; 3.5 ms, 0.1 ms, 1.2 ms for 64 tokens over 6,000."""
    sizes = load_adapter("random:llava-onevision-7b", device="meta").text_sizes
    n_all = sizes.n_weights + 2 * sizes.n_head_weights
    assert n_all * BF16 == pytest.approx(15.2e9, rel=0.005)
    assert kv_bytes(sizes, 1, BF16) == 57_344
    work = question_work(sizes, sizes.n_weights * BF16, 64, 6000, BF16)
    floor = Work(n_all * BF16, work.kv_bytes, work.flops).floor(H200)
    assert 1000 * floor.weights_seconds == pytest.approx(3.5, abs=0.05)
    assert 1000 * floor.kv_seconds == pytest.approx(0.1, abs=0.05)
    assert 1000 * floor.arithmetic_seconds == pytest.approx(1.2, abs=0.06)
    # The table of input embeddings is not read, so the floor is a little lower.
    assert 1000 * work.floor(H200).seconds == pytest.approx(4.6, abs=0.05)


def test_ingest_of_the_7b_model_is_as_the_design_counts_it() -> None:
    """196 tokens a frame: about 3 TFLOP in the text model, under 1 in the vision tower; above 150 frames a second."""
    adapter = load_adapter("random:llava-onevision-7b", device="meta")
    sizes, encoding = adapter.text_sizes, adapter.encoding_flops(make_frames(1))
    work = frame_work(sizes, sizes.n_weights * BF16, encoding, 196, 16, 6000, BF16)
    assert encoding < 1e12
    assert work.flops - encoding == pytest.approx(3e12, rel=0.15)
    assert 1 / work.floor(H200).seconds > 150


@torch.inference_mode()
def test_a_question_is_counted_as_it_runs(tiny: Adapter) -> None:
    stream = open_direct(tiny, KeepAll(), chunk_frames=4)
    watch_direct(stream, make_frames(8), 4)
    version = stream.memory.current
    query = Query("What is left of the circle?")
    asked = Question(stream, query)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run_forward(tiny, [asked.segment])
    n_held = version.layers[0].n_held
    work = question_work(tiny.text_sizes, tiny.text_sizes.n_weights * 4, asked.n_tokens, n_held, 4)
    assert work.flops == counter.get_total_flops()
    assert work.kv_bytes == sum(layer.keys.nbytes + layer.values.nbytes for layer in version.layers)
    model = tiny._model  # type: ignore[attr-defined]
    linear = [module.weight for module in model.model.language_model.modules() if isinstance(module, torch.nn.Linear)]
    assert work.weight_bytes == sum(weight.nbytes for weight in [*linear, model.lm_head.weight])


def test_a_frame_costs_its_part_of_an_interval(tiny: Adapter) -> None:
    sizes, encoding = tiny.text_sizes, tiny.encoding_flops(make_frames(1))
    work = frame_work(sizes, 400, encoding, 9, 4, 100, 4)
    assert work.flops == encoding + chunk_flops(sizes, [100] * sizes.n_layers, 36) / 4
    assert work.weight_bytes == 100
    assert 4 * work.kv_bytes == kv_bytes(sizes, 136, 4)


def test_a_floor_is_what_reading_and_arithmetic_take() -> None:
    row = FloorRow.of("a step", "here", 3, Work(weight_bytes=30, kv_bytes=10, flops=400), Rates(1000, 20_000), 150.0)
    assert (row.weights_ms, row.kv_ms, row.arithmetic_ms, row.floor_ms, row.ratio) == (30, 10, 20, 60, 2.5)
    assert FloorRow.of("a step", "here", 3, Work(1, 1, 1), Rates(1, 1), None).ratio is None


def test_rates_are_measured(tiny: Adapter) -> None:
    rates = measure_rates(tiny.facts, tiny.text_sizes, [8, 64])
    assert 1e7 < rates.bytes_per_second < 1e13
    assert 1e6 < rates.flops_per_second < 1e16


def test_figures_measured_now_and_from_files_have_rows(tiny: Adapter) -> None:
    rates = Rates(1e9, 1e9)
    rows = floor_rows(tiny, measure_figures(tiny, budget=48), rates)
    assert [row.figure.split()[0] for row in rows] == ["question", "decode", "frame,"]
    for row in rows:
        assert row.held_tokens == 48
        assert row.measured_ms is not None
        assert row.ratio == pytest.approx(row.measured_ms / row.floor_ms, rel=0.01)
    sizes = tiny.text_sizes
    read_bytes = 4 * (sizes.n_weights + sizes.n_head_weights)
    assert rows[0].weights_ms == pytest.approx(1000 * read_bytes / rates.bytes_per_second, rel=0.001)
    name = tiny.facts.name
    asked = {"policy": "hermes", "frames": 64, "held_tokens": 48, "question_tokens": 20, "ttft_ms_p50": 9, "tpot_ms": 3}
    fed = {
        "policy": "uniform",
        "frames": 8,
        "held_tokens": 40,
        "chunk": 4,
        "tokens_per_frame": 9.0,
        "frames_per_second": 50,
    }
    results = {"settings": {"model": name}, "rows": [asked, fed, {"policy": "keep-all", "error": "ends"}]}
    found = [row for figures in figures_of(results, name) for row in floor_rows(tiny, figures, rates)]
    assert [(row.source, row.measured_ms) for row in found] == [
        ("hermes, 64 frames", 9), ("hermes, 64 frames", 3), ("uniform, 8 frames", 20),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no rows of bench latency"):
        figures_of({"settings": {"model": name}, "rows": []}, name)
    with pytest.raises(ConfigError, match=r"the results are of .*, but --model is other"):
        figures_of(results, "other")
