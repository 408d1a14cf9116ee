"""Every registered policy on a model of every family; no policy is named here, registering one enrols it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from hermes_stream.engine.snapshot import take_snapshot
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from tests.tiny import make_frames, save_checkpoint

from .direct import (
    assert_same_bits,
    assert_same_snapshots,
    assert_same_streams,
    memory_bits,
    open_direct,
    question_logits,
    restore_direct,
    watch_direct,
)

N_LAYERS = 3
QUESTION = "What is left?"


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param, num_hidden_layers=N_LAYERS)))


def start(name: str, adapter: Adapter, *, chunk_frames: int = 4, exact: bool = False) -> Stream:
    """A stream with a budget of two frames, which any second interval fills. exact: nothing is quantised."""
    policy = POLICIES[name]().with_budget(2 * adapter.facts.tokens_per_frame)
    if exact and "bits" in policy.options():
        policy = policy.model_copy(update={"bits": 16})
    return open_direct(adapter, policy, chunk_frames=chunk_frames)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_watches_and_answers(name: str, adapter: Adapter) -> None:
    """Questions before the first frame and within an interval, asked twice, change nothing, nor what comes later."""
    stream, unasked = start(name, adapter), start(name, adapter)
    for n_frames in (0, 10, 4):
        for each in (stream, unasked):
            watch_direct(each, make_frames(n_frames, start=each.memory.current.frames_seen), 4)
        before = take_snapshot(stream)
        logits_V = question_logits(stream, QUESTION)
        assert bool(torch.isfinite(logits_V).all())
        assert torch.equal(logits_V, question_logits(stream, QUESTION))
        assert_same_snapshots(before, take_snapshot(stream))
        stream.memory.check_invariants()
    assert_same_streams(stream, unasked)
    if stream.policy.is_bounded:
        assert stream.n_compressions > 0


def test_nothing_of_questions_and_frames_waits_for_the_garbage_collector(adapter: Adapter) -> None:
    """It comes when it likes; until then, rows in a cycle of references would fill an accelerator."""
    left = {}
    gc.disable()
    try:
        for name in POLICIES:
            stream = start(name, adapter)
            watch_direct(stream, make_frames(8), 4)
            gc.collect()
            gc.freeze()
            question_logits(stream, QUESTION)
            watch_direct(stream, make_frames(4, start=8), 4)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            left[name] = sum(isinstance(each, torch.Tensor) for each in gc.garbage)
            gc.garbage.clear()
    finally:
        gc.set_debug(0)
        gc.unfreeze()
        gc.enable()
    assert left == dict.fromkeys(POLICIES, 0)


@pytest.mark.parametrize("name", POLICIES)
def test_a_fork_and_a_snapshot_go_their_own_way(name: str, adapter: Adapter, tmp_path: Path) -> None:
    """Taken within an interval, and where frames are paired, between the two of a pair."""
    stream = start(name, adapter)
    watch_direct(stream, make_frames(9), 4)
    take_snapshot(stream).save(tmp_path / "past")
    fork, before, bits = stream.fork(), take_snapshot(stream), memory_bits(stream)
    watch_direct(fork, make_frames(7, seed=1, start=9), 4)
    assert not torch.equal(question_logits(fork, QUESTION), question_logits(stream, QUESTION))
    assert_same_snapshots(before, take_snapshot(stream))
    assert_same_bits(bits, memory_bits(stream))

    restored = restore_direct(adapter, Snapshot.load(tmp_path / "past"))
    assert torch.equal(question_logits(restored, QUESTION), question_logits(stream, QUESTION))
    for each in (stream, restored):
        watch_direct(each, make_frames(7, start=9), 4)
    assert_same_streams(stream, restored)
    assert torch.equal(question_logits(restored, QUESTION), question_logits(stream, QUESTION))


@pytest.mark.parametrize("name", POLICIES)
def test_frames_may_come_one_by_one(name: str, adapter: Adapter) -> None:
    """Pieces of an interval are not intervals: the same rows stay, and answers differ by rounding alone."""
    # Few bits would make steps of roundings in the seventh digit.
    whole, single = (start(name, adapter, exact=True) for _ in range(2))
    watch_direct(whole, make_frames(10), 4)
    watch_direct(single, make_frames(10), 1)
    for ours, theirs in zip(whole.memory.current.layers, single.memory.current.layers, strict=True):
        assert torch.equal(ours.table.data_CHN, theirs.table.data_CHN)
    torch.testing.assert_close(
        question_logits(whole, QUESTION), question_logits(single, QUESTION), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", POLICIES)
def test_an_interval_may_be_one_frame(name: str, adapter: Adapter) -> None:
    """Also where a grid takes two: the interval ends with the grid."""
    stream = start(name, adapter, chunk_frames=1)
    watch_direct(stream, make_frames(7), 7)
    stream.memory.check_invariants()
    assert bool(torch.isfinite(question_logits(stream, QUESTION)).all())
    if stream.policy.is_bounded:
        assert stream.n_compressions > 0
        assert max(stream.memory.current.held_tokens) <= 2 * adapter.facts.tokens_per_frame
