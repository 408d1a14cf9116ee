"""Qwen2.5-VL and Qwen3-VL: chunked equals whole, greedy answers equal, odd frames lose nothing, long streams go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, Hermes, KeepAll, Policy, RecentFrames, SlidingWindow, Uniform
from hermes_stream.memory.rope import rotate
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, question_logits, watch_direct, watch_packed
from tests.oracles.stock_qwen import StockQwen, StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"
STOCK: dict[str, Callable[[Path], StockQwen]] = {"qwen2_5_vl": StockQwen2_5VL, "qwen3_vl": StockQwen3VL}


@pytest.fixture(scope="module", params=STOCK)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Any:
    return load_adapter(str(folder))


@pytest.fixture(scope="module")
def stock(folder: Path) -> StockQwen:
    return STOCK[folder.name](folder)


@pytest.mark.parametrize("piece_frames", [2, 3, 4, 12])
def test_logits_equal_the_stock_forward(adapter: Any, stock: StockQwen, piece_frames: int) -> None:
    frames = make_frames(12, seed=4)
    expected = stock.logits(frames, *adapter._patches(frames), QUESTION)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, piece_frames)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


def test_greedy_answers_equal_the_stock_models(folder: Path, adapter: Any, stock: StockQwen) -> None:
    frames = make_frames(8, seed=5)
    expected = stock.greedy(frames, *adapter._patches(frames), QUESTION, 8)
    with Engine(load_adapter(str(folder))) as engine, engine.open(KeepAll()) as session:
        for frame in frames:
            session.watch(frame)
        assert list(session.ask(QUESTION, max_new_tokens=8).result().token_ids) == expected


def test_a_frame_without_a_partner_is_seen_at_once_and_committed_with_it(adapter: Any, stock: StockQwen) -> None:
    frames = make_frames(7, seed=6)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, 3)
    assert stream.memory.current.frames_seen == 6
    assert stream.waiting == (frames[6],)
    shown = [*frames, frames[6]]
    expected = stock.logits(shown, *adapter._patches(shown), QUESTION)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)
    assert stream.memory.current.frames_seen == 6
    whole = make_frames(8, seed=6)
    watch_direct(stream, whole[7:], 1)
    assert stream.waiting == ()
    expected = stock.logits(whole, *adapter._patches(whole), QUESTION)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


def test_the_clip_may_begin_at_any_time(adapter: Any) -> None:
    logits = []
    for start in (0, 40):
        frames = make_frames(6, seed=8)
        shifted = [type(frame)(frame.pts_seconds + start, frame.image_YXC) for frame in frames]
        stream = open_direct(adapter, KeepAll(), chunk_frames=4)
        watch_direct(stream, shifted, 4)
        logits.append(question_logits(stream, QUESTION))
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_two_sessions_packed_equal_two_alone(folder: Path) -> None:
    """DeepStack rows of two sessions share a forward with probes that have none."""
    adapter = load_adapter(str(folder), dtype="float64")
    clips = [make_frames(12, seed=1), make_frames(12, seed=2)]
    policies = [Hermes(budget=60), SlidingWindow(budget=70)]
    alone = [open_direct(adapter, policy) for policy in policies]
    packed = [open_direct(adapter, policy) for policy in policies]
    for start in range(0, 12, 4):
        watch_packed(packed, [clip[start : start + 4] for clip in clips])
        for stream, clip in zip(alone, clips, strict=True):
            watch_direct(stream, clip[start : start + 4], 4)
    for one, other in zip(alone, packed, strict=True):
        torch.testing.assert_close(question_logits(one, "left?"), question_logits(other, "left?"), atol=1e-9, rtol=0)
        for a, b in zip(one.memory.current.layers, other.memory.current.layers, strict=True):
            assert torch.equal(a.table.data_CHN, b.table.data_CHN)


@pytest.mark.parametrize(
    "policy",
    [
        Hermes(budget=80),
        Hermes(budget=80, reindex="eager"),
        Hermes(budget=80, reindex="eager", compaction="ranks"),
        Hermes(budget=80, reindex="eager", summary="all", summary_place="mean", merge_summaries=True),
        Hermes(budget=80, **Hermes.presets["released"]),
        SlidingWindow(budget=80),
        Uniform(budget=120),
    ],
    ids=["lazy", "eager", "eager-ranks", "eager-mean-summaries", "released", "sliding-window", "uniform"],
)
def test_positions_stay_below_the_limit_and_the_stream_goes_on(adapter: Any, policy: Policy) -> None:
    stream = open_direct(adapter, policy)
    largest = 0
    for start in range(0, 400, 4):
        watch_direct(stream, make_frames(4, start=start) if start < 8 else later(start), 4)
        version = stream.memory.current
        largest = max(largest, version.next_position)
        assert max(version.held_tokens) <= (policy.budget_tokens or 0)
    stream.memory.check_invariants()
    assert largest <= 512
    assert bool(question_logits(stream, QUESTION).isfinite().all())
    for layer in stream.memory.current.layers:
        cos, sin = adapter.rope.tables(layer.table.position_RHN, torch.float32)
        expected = rotate(layer.slab.raw_keys(layer.n_held), cos, sin)
        torch.testing.assert_close(layer.keys, expected, atol=1e-5, rtol=0)


def test_a_compaction_frees_positions_where_summaries_are_held(adapter: Any) -> None:
    """A summary at its layer's end stands as text does; left behind on height and width it held the clock at its old
    place, and after 460 s at 4 positions a second nothing fitted any more."""
    stream = open_direct(adapter, Hermes(budget=80))
    clocks = []
    for start in range(0, 300, 4):
        watch_direct(stream, later(start), 4)
        clocks.append(stream.memory.current.next_position)
    first = next(index for index in range(1, len(clocks)) if clocks[index] < clocks[index - 1] + 4)
    n_prefix, span = stream.memory.current.n_prefix, stream.memory.shape.longest_span
    # An interval of frames, and its summaries, came after the compaction.
    assert clocks[first] <= n_prefix + span + 60 < clocks[first - 1]


def test_positions_that_run_out_are_closed_up_as_the_policy_says(adapter: Any) -> None:
    """Ranks leave no gap on any axis of any layer; the grid's own rule leaves gaps in time."""
    has_gaps = []
    for compaction in ("ranks", "grid"):
        stream = open_direct(adapter, Hermes(budget=80, compaction=compaction))
        for start in range(0, 160, 4):
            watch_direct(stream, later(start), 4)
        tokens = adapter.embed(later(160), since_seconds=0.0)
        memory, n_prefix = stream.memory, stream.memory.current.n_prefix
        memory.make_room(tokens, reserve=memory.shape.max_positions - memory.current.end_after(tokens) + 1)
        axes = [axis_HN[0, n_prefix:] for t in memory.current.layers for axis_HN in t.table.position_RHN]
        has_gaps.append(any(axis_N.unique().numel() < axis_N.max() - n_prefix + 1 for axis_N in axes))
    assert has_gaps == [False, True]


def later(start: int) -> list[Any]:
    frames = make_frames(4, seed=start % 7)
    return [type(frame)(start + frame.pts_seconds, frame.image_YXC) for frame in frames]


def test_recent_frames_answer_like_a_clip_of_those_frames_alone(adapter: Any, stock: StockQwen) -> None:
    frames = make_frames(12, seed=9)
    stream = open_direct(adapter, RecentFrames(frames=3, budget=1000), chunk_frames=4)
    watch_direct(stream, frames, 4)
    if adapter.facts.has_absolute_time:
        last = frames[-6:]
        expected = stock.logits(last, *adapter._patches(last), QUESTION)
        torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)
    else:
        # The frames keep their own times in words, so a clip of them alone says other times.
        assert bool(question_logits(stream, QUESTION).isfinite().all())
