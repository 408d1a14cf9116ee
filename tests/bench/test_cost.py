"""Counted operations equal those that PyTorch counts as they run, and intervals can be taken apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hermes_stream import Hermes, InfiniPotV, KeepAll, RecentFrames, SlidingWindow, StreamMem
from hermes_stream.bench.cost import EXTRA, OWN
from hermes_stream.bench.cost_count import ArithmeticCounter, chunk_flops, probe_flops, shortcut_flops
from hermes_stream.bench.cost_measure import measure_cost
from hermes_stream.engine.batch import CommitSegment, PackedBatch
from hermes_stream.engine.embedding_probe import embedding_mass
from hermes_stream.engine.ingest import Piece
from hermes_stream.errors import ConfigError
from hermes_stream.memory.rope import rotate
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Probe
from hermes_stream.stages import PLACE, PROBE
from tests.engine.direct import open_direct, watch_direct
from tests.tiny import make_frames, save_checkpoint

REAL_SHAPE = "random:llava-onevision-0.5b"


@torch.inference_mode()
def counted_by_pytorch(function: Callable[[], Any]) -> int:
    """Matrix products and convolutions; attention in its plain form, because fused forms are not always counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def tiny(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


@pytest.fixture(scope="module")
def real_shape() -> Adapter:
    """LLaVA-OneVision 0.5B without any memory for its weights."""
    return load_adapter(REAL_SHAPE, device="meta")


@pytest.mark.parametrize("name", ["tiny", "real_shape", "tiny-llava-onevision"])
def test_encoding_is_counted_as_it_runs(name: str, request: pytest.FixtureRequest) -> None:
    adapter = load_adapter(name) if name.startswith("tiny-") else request.getfixturevalue(name)
    frames = make_frames(3)
    expected = counted_by_pytorch(lambda: adapter.embed(frames, since_seconds=0.0))
    assert adapter.encoding_flops(frames) == expected


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize(("height", "width"), [(36, 64), (60, 24), (40, 40)])
def test_grids_of_any_shape_are_counted_as_they_run(family: str, height: int, width: int, tmp_path: Path) -> None:
    """Windows of Qwen2.5-VL are whole, cut at one side or at both."""
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family)))
    frames = make_frames(4, height=height, width=width)
    expected = counted_by_pytorch(lambda: adapter.embed(frames, since_seconds=0.0))
    assert adapter.encoding_flops(frames) == expected


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_chunk_and_probe_are_counted_as_they_run(family: str, tmp_path: Path) -> None:
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family)))
    stream = open_direct(adapter, Hermes(budget=70), chunk_frames=4)
    watch_direct(stream, make_frames(12), 4)
    with torch.inference_mode():
        commit, *probes = Piece(stream, make_frames(4, start=12)).segments()
    assert isinstance(commit, CommitSegment)
    n_held = [layer.n_held for layer in commit.pending.base.layers]
    n_new = commit.embeddings_TE.shape[0]
    chunk = counted_by_pytorch(lambda: adapter.run(PackedBatch([commit], adapter.rope)))
    assert chunk_flops(adapter.text_sizes, n_held, n_new) == chunk
    n_prompts = [probe.embeddings_TE.shape[0] for probe in probes]
    # More than one block of queries, of which the last is not full.
    assert n_prompts[0] > 64
    n_rows, weighed = [n + n_new for n in n_held], [probe.layers for probe in probes]
    assert any(len(layers) < len(n_rows) for layers in weighed)
    ours = sum(probe_flops(adapter.text_sizes, n_rows, *probe) for probe in zip(n_prompts, weighed, strict=True))
    assert ours == counted_by_pytorch(lambda: adapter.run(PackedBatch(probes, adapter.rope)))


def test_the_released_shortcut_is_counted_as_it_runs(tiny: Adapter) -> None:
    """The attention module also makes outputs, which the release does not."""
    stream = open_direct(tiny, KeepAll(), chunk_frames=4)
    watch_direct(stream, make_frames(4), 4)
    version, sizes, probe = stream.memory.current, tiny.text_sizes, Probe("any", "What is left?", range(3, 8))
    n_tokens = tiny.guidance(probe.text).shape[0]
    counted = counted_by_pytorch(lambda: embedding_mass(tiny, version, probe))
    outputs = len(probe.layers) * 2 * n_tokens * sizes.n_heads * sizes.head_dim * sizes.width
    ours = shortcut_flops(sizes, [version.layers[index].n_held for index in probe.layers], n_tokens)
    assert ours == counted - outputs


def test_at_the_real_shape_the_prompts_take_less_than_a_twentieth(real_shape: Adapter) -> None:
    """16 frames of 196 tokens on 4,096 held ones; what remains of the method has hardly any arithmetic."""
    frames, sizes = make_frames(16), real_shape.text_sizes
    n_held, n_new = [real_shape.facts.prefix_tokens + 4096] * sizes.n_layers, 16 * 196
    own = real_shape.encoding_flops(frames) + chunk_flops(sizes, n_held, n_new)
    probes = Hermes(budget=4096).probes([4096 + n_new] * 24, (), open_direct(real_shape, KeepAll()).facts)
    n_prompts = [real_shape.guidance(probe.text).shape[0] for probe in probes]
    extra = sum(probe_flops(sizes, [n + n_new for n in n_held], n) for n in n_prompts)
    assert 0.001 < extra / own < 0.05


def test_arithmetic_is_counted_and_moving_about_is_not() -> None:
    x_KND, weight_N = torch.randn(2, 5, 8), torch.randn(5)
    expected = {
        # Two products and a sum, and half of the elements change their sign.
        lambda: rotate(x_KND, x_KND, x_KND): 3.5 * 80,
        lambda: torch.einsum("knd,n->kd", x_KND, weight_N): 2 * 80,
        lambda: x_KND.mean(dim=1): 80,
        lambda: torch.exp(-2 * weight_N): 10,
        lambda: (x_KND.sort(), x_KND.clone(), x_KND[:, [1, 2]], x_KND > 0, torch.arange(9) + 1): 0,
    }
    for function, n_operations in expected.items():
        with torch.inference_mode(), ArithmeticCounter() as counter:
            function()
        assert counter.n_operations == n_operations


@pytest.mark.parametrize(
    ("policy", "n_prompts"),
    [
        (Hermes(budget=60), 2),
        (Hermes(budget=60, attention="embedding"), 2),
        (InfiniPotV(budget=60), 0),
        (SlidingWindow(budget=60), 0),
        (StreamMem(budget=60), 1),
    ],
)
def test_an_interval_is_taken_apart(tiny: Adapter, policy: Any, n_prompts: int) -> None:
    pictures = [frame.image_YXC for frame in make_frames(4)]
    cost = measure_cost(tiny, policy, pictures, chunk_frames=4, n_intervals=2)
    first, second = cost.intervals
    assert len(first.prompt_tokens) == n_prompts
    assert (first.flops[PROBE] == 0) == (n_prompts == 0)
    # The memory is full, so intervals are alike.
    assert first.flops == second.flops
    assert first.n_tokens == 36
    assert all(first.seconds[part] > 0 for part in OWN)
    row = cost.as_row()
    shares = [part["flops_share"] for part in row["parts"].values()]
    assert sum(shares[:2]) == pytest.approx(1)
    assert row["extra_flops_share"] == pytest.approx(sum(shares[2:]))
    assert set(row["parts"]) == {*OWN, *EXTRA}


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_intervals_of_families_with_three_axes_are_taken_apart(family: str, tmp_path: Path) -> None:
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family)))
    pictures = [frame.image_YXC for frame in make_frames(4)]
    cost = measure_cost(adapter, Hermes(budget=70), pictures, chunk_frames=4, n_intervals=3)
    assert all(interval.n_tokens >= 64 for interval in cost.intervals)
    assert cost.flops(PROBE) > 0
    with pytest.raises(ConfigError, match="3 frames are no whole grids of 2"):
        measure_cost(adapter, Hermes(budget=70), pictures, chunk_frames=3, n_intervals=1)


def test_placing_anew_is_divided_among_the_intervals_that_pass_until_then(tiny: Adapter) -> None:
    """512 positions, 64 reserved, 60 + prefix after a placement, 36 or 37 an interval."""
    pictures = [frame.image_YXC for frame in make_frames(4)]
    lazy, eager = (
        measure_cost(tiny, Hermes(budget=60, reindex=reindex), pictures, chunk_frames=4, n_intervals=1)
        for reindex in ("lazy", "eager")
    )
    n = lazy.intervals[0].intervals_per_placement
    assert n == (512 - 64 - 60 - tiny.facts.prefix_tokens) // 37
    assert eager.intervals[0].intervals_per_placement == 1
    assert eager.flops(PLACE) == pytest.approx(n * lazy.flops(PLACE))


@pytest.mark.parametrize("policy", [KeepAll(), RecentFrames(budget=60)])
def test_a_policy_that_evicts_no_rows_is_refused(tiny: Adapter, policy: Any) -> None:
    pictures = [frame.image_YXC for frame in make_frames(4)]
    with pytest.raises(ConfigError, match="evicts no rows"):
        measure_cost(tiny, policy, pictures, chunk_frames=4, n_intervals=1)
