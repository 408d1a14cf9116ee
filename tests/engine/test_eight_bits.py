"""Streams whose rows are held in 8 bits: all that holds for others, in a third of the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, Hermes, KeepAll, SlidingWindow
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.errors import ConfigError, PolicyError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from tests.tiny import make_frames, save_checkpoint

from .direct import (
    assert_same_streams,
    make_task,
    memory_bits,
    open_direct,
    question_logits,
    watch_direct,
    watch_packed,
)

QUESTION = "red or green?"


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """In float64: where another order of sums rounds a code differently, two numbers were closer than that."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    return load_adapter(str(save_checkpoint(request.param, folder, num_hidden_layers=2)), dtype="float64")


def test_any_chunking_gives_the_same_and_nearly_what_16_bits_give(adapter: Adapter) -> None:
    """New frames read themselves in 8 bits as well, so that it does not matter how they are cut."""
    exact, whole, single = (open_direct(adapter, KeepAll(memory_bits=bits)) for bits in (16, 8, 8))
    for stream, piece_frames in ((exact, 4), (whole, 4), (single, 1)):
        watch_direct(stream, make_frames(8), piece_frames)
    logits_V = question_logits(whole, QUESTION)
    torch.testing.assert_close(question_logits(single, QUESTION), logits_V, atol=1e-9, rtol=0)
    exact_V = question_logits(exact, QUESTION)
    off = float((logits_V - exact_V).norm() / exact_V.norm())
    assert 0 < off < 0.02
    assert whole.memory.current.n_bytes * 10 < exact.memory.current.n_bytes


def test_packed_beside_16_bits_equals_alone(adapter: Adapter) -> None:
    n = adapter.facts.tokens_per_frame
    policies = [Hermes(budget=3 * n, memory_bits=8), SlidingWindow(budget=3 * n)]
    clips = [make_frames(10, seed=1), make_frames(10, seed=2)]
    alone, packed = ([open_direct(adapter, policy) for policy in policies] for _ in range(2))
    for start, stop in ((0, 2), (2, 4), (4, 8), (8, 10)):
        watch_packed(packed, [clip[start:stop] for clip in clips])
        for stream, clip in zip(alone, clips, strict=True):
            watch_direct(stream, clip[start:stop], stop - start)
    tasks = [make_task(stream, QUESTION)[0] for stream in packed]
    with torch.inference_mode():
        batch = PackedBatch([task.segment() for task in tasks], adapter.rope)
        logits_LV = adapter.logits(adapter.run(batch)[batch.last_rows])
    for stream, logits_V in zip(alone, logits_LV, strict=True):
        torch.testing.assert_close(logits_V, question_logits(stream, QUESTION), atol=1e-9, rtol=0)


def test_a_snapshot_and_a_fork_go_on_bit_by_bit(llava_folder: Path, tmp_path: Path) -> None:
    with Engine(load_adapter(str(llava_folder))) as engine:
        session = engine.open("hermes", budget=30, memory_bits=8)
        session.watch(make_frames(9))
        session.snapshot().save(tmp_path / "past")
        restored, fork = engine.restore(tmp_path / "past"), session.fork()
        assert str(restored.policy) == "hermes(budget=30, memory_bits=8)"
        before = memory_bits(session.stream)
        for each in (restored, fork):
            each.watch(make_frames(7, start=9))
        assert all(torch.equal(a, b) for a, b in zip(before, memory_bits(session.stream), strict=True))
        session.watch(make_frames(7, start=9))
        assert_same_streams(session.stream, restored.stream)
        assert_same_streams(session.stream, fork.stream)


def test_bytes_buy_more_rows_and_are_kept(llava_folder: Path) -> None:
    """A row of 12 layers and 2 heads of 16: 18 bytes a key or value instead of 64, and no rotated key."""
    with Engine(load_adapter(str(llava_folder))) as engine:
        for memory, bits in (("sliding-window", 8), ("sliding-window(memory_bits=8)", None)):
            session = engine.open(memory, budget="64KiB", memory_bits=bits)
            assert session.policy.budget == 65536 // (12 * 2 * 2 * 18)
            session.watch(make_frames(20))
            # Whole frames of 9 tokens.
            assert session.stats.memory_bytes == (session.memory.n_prefix + 72) * 864
        assert engine.open(SlidingWindow(), budget="64KiB", memory_bits=8).policy.budget == 65536 // 864


def test_a_precision_that_cannot_be_is_refused(llava_folder: Path) -> None:
    with Engine(load_adapter(str(llava_folder))) as engine:
        with pytest.raises(PolicyError, match=r"memory_bits is 4; give 16, the model's own precision, or 8"):
            engine.open("uniform", memory_bits=4)  # type: ignore[arg-type]
        with pytest.raises(PolicyError, match=r"memory_bits is '4', expected 16 or 8"):
            engine.open("uniform(memory_bits=4)")
        with pytest.raises(PolicyError, match=r"two precisions: memory_bits=8 in .* and 16 beside it"):
            engine.open("uniform(memory_bits=8) + recent(frames=1)", memory_bits=16)
        with pytest.raises(ConfigError, match="stores un-rotated keys only"):
            engine.open("uniform", memory_bits=8, keep_raw=False)


def test_a_wrapper_holds_its_rows_as_its_store_does() -> None:
    text = "dtd | hermes(budget=90, memory_bits=8) + recent(frames=1)"
    policy = parse_memory(text)
    assert policy.memory_bits == 8
    assert str(policy) == "dtd | hermes(budget=90, memory_bits=8) + recent(frames=1)"
    assert parse_memory("hermes(budget=90) + recent").with_memory_bits(8).memory_bits == 8
    assert str(parse_memory("hermes + recent").with_memory_bits(8)) == str(
        parse_memory("hermes(memory_bits=8) + recent")
    )
