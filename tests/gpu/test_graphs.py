"""Captured forwards on a device: `python -m pytest -m gpu tests/gpu/test_graphs.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, Hermes, KeepAll, SlidingWindow
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.bucket import Bucket, buckets_up_to
from hermes_stream.engine.graphs.recorder import CallAgain, CudaGraphs
from hermes_stream.engine.graphs.static_forwards import StaticForwards
from hermes_stream.engine.selfcheck import TOLERANCES
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.engine.direct import watch_direct
from tests.engine.static import Pair, make_arena, open_in_arena
from tests.tiny import make_frames, save_checkpoint

pytestmark = pytest.mark.gpu

BUCKETS = [Bucket(1, 16), Bucket(1, 32), Bucket(1, 1), Bucket(2, 2), Bucket(4, 4)]


@pytest.fixture(params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    folder = save_checkpoint(request.param, tmp_path / request.param)
    return load_adapter(str(folder), dtype="bfloat16", device="cuda")


@pytest.fixture
def _waiting_is_allowed_again() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def test_replays_equal_eager_forwards(adapter: Adapter) -> None:
    """Sessions that come after the capture, grow, evict and pin versions between the replays."""
    arena = make_arena(adapter)
    arena.reserve(8192, keep_raw=True)
    static = StaticForwards(adapter, lambda: CudaGraphs(adapter.facts.device))
    with torch.inference_mode():
        static.warm_up(arena, BUCKETS)
    assert [capture.error for capture in static.captures] == [""] * len(BUCKETS)
    window = open_in_arena(adapter, SlidingWindow(budget=100), arena)
    grouped = open_in_arena(adapter, Hermes(budget=70), arena)
    everything = open_in_arena(adapter, KeepAll(), arena)
    for stream, n_frames in ((window, 8), (grouped, 12), (everything, 2)):
        watch_direct(stream, make_frames(n_frames, seed=n_frames), 4)
    pairs = []
    for stream, text in ((window, "left?"), (grouped, "Which colour is the circle now?"), (everything, "right?")):
        pairs.append(Pair(stream, text))
        _assert_step_is_close(static, pairs[-1:])
        watch_direct(window, make_frames(2, seed=3, start=8 + 2 * len(pairs)), 2)
        for _ in range(3):
            _assert_step_is_close(static, pairs)


def test_a_replay_equals_the_same_kernels_launched_one_by_one(adapter: Adapter) -> None:
    arena = make_arena(adapter)
    stream = open_in_arena(adapter, KeepAll(), arena)
    watch_direct(stream, make_frames(8), 4)
    pair, logits = Pair(stream, "Which colour is the circle now?"), []
    for recorder, task in ((CudaGraphs(adapter.facts.device), pair.static), (CallAgain(), pair.eager)):
        static = StaticForwards(adapter, lambda recorder=recorder: recorder)
        with torch.inference_mode():
            static.warm_up(arena, [Bucket(1, 32)])
            outcome = static.run([task.segment()])
        assert outcome is not None
        logits.append(outcome.logits_AV.clone())
    torch.testing.assert_close(*logits, atol=1e-2, rtol=0)


@pytest.mark.usefixtures("_waiting_is_allowed_again")
def test_a_replayed_step_waits_for_nothing(tmp_path: Path) -> None:
    adapter = load_adapter(str(save_checkpoint("llava_onevision", tmp_path / "llava")), dtype="float16", device="cuda")
    arena = make_arena(adapter)
    stream = open_in_arena(adapter, KeepAll(), arena)
    static = StaticForwards(adapter, lambda: CudaGraphs(adapter.facts.device))
    task = Pair(stream, "red or green?").static
    with torch.inference_mode():
        static.warm_up(arena, [Bucket(1, 16), Bucket(1, 1)])
        first = static.run([task.segment()])
        assert first is not None
        task.accept(int(first.largest_A[0]))
        torch.cuda.set_sync_debug_mode("error")
        assert static.run([task.segment()]) is not None


def test_warm_up_captures_what_it_says_and_answers_come(tmp_path: Path) -> None:
    folder = save_checkpoint("llava_onevision", tmp_path / "llava")
    with Engine(load_adapter(str(folder), dtype="bfloat16", device="cuda")) as engine:
        done = engine.warm_up(questions=40, sessions=3)
        assert [capture.error for capture in done.captures] == [""] * len(done.captures)
        assert {capture.bucket for capture in done.captures} == set(buckets_up_to(40, 3))
        with engine.open(SlidingWindow(budget=40)) as session:
            session.watch(make_frames(12))
            assert session.ask("Which colour?", max_new_tokens=8).result().token_ids
        assert engine.stats.captures == done.captures


@torch.inference_mode()
def _assert_step_is_close(static: StaticForwards, pairs: Sequence[Pair]) -> None:
    adapter = pairs[0].static._adapter
    eager = run_forward(adapter, [pair.eager.segment() for pair in pairs])
    expected_AV = eager.logits_AV.float()
    outcome = static.run([pair.static.segment() for pair in pairs])
    assert outcome is not None
    difference = (outcome.logits_AV.float() - expected_AV).abs().max() / expected_AV.abs().max()
    assert difference <= TOLERANCES[adapter.facts.dtype]
    for pair, token_id in zip(pairs, eager.largest_A.tolist(), strict=True):
        pair.static.accept(token_id)
        pair.eager.accept(token_id)
