"""Frames that are run through the text model for a question alone, against the stock models of all families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import DSCache, Engine, Policy, RecentFrames, SAVEMem, SlidingWindow
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Frame
from tests.engine.direct import assert_same_bits, memory_bits, open_direct, question_logits, watch_direct
from tests.oracles.dscache_oracle import frames_seen, prefix_again, visible
from tests.oracles.stock_llava import StockLlava
from tests.oracles.stock_qwen import StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"


class Llava:
    """The stock LLaVA-OneVision: nine tokens a frame."""

    per_grid = 1

    def __init__(self, folder: Path, adapter: Any) -> None:
        self.stock, self.adapter = StockLlava(folder), adapter

    def logits(self, frames: Sequence[Frame]) -> torch.Tensor:
        return self.stock.logits(self.adapter._preprocess(frames), QUESTION)

    def masked(self, frames: Sequence[Frame], sees: list[set[int]], held: set[int], n_instant: int) -> torch.Tensor:
        question = f"\n{QUESTION}<|im_end|><|im_start|>assistant\n"
        parts = self.stock.embeddings(self.adapter._preprocess(frames), question)
        n_prefix, n_tokens = parts[0].shape[0], sum(part.shape[0] for part in parts)
        ends = [n_prefix + 9 * (index + 1) for index in range(len(frames))]
        visible_TT = visible(n_prefix, ends, n_tokens, sees, held, n_instant)
        again = prefix_again(n_prefix, [n_prefix + 9 * max(len(frames) - n_instant, 0)], (0,))
        position_T = torch.tensor([*range(n_prefix), *(row[0] for row in again), *range(n_prefix, n_tokens)])
        return self.stock.masked_logits(torch.cat((parts[0], *parts)), visible_TT.expand(12, -1, -1), position_T)


class Qwen:
    """A stock Qwen-VL: two frames a grid; the stream began when it is told."""

    per_grid = 2

    def __init__(self, folder: Path, adapter: Any) -> None:
        kind = StockQwen2_5VL if folder.name == "qwen2_5_vl" else StockQwen3VL
        self.stock, self.adapter = kind(folder), adapter
        self.stock.since_seconds = 0.0

    def logits(self, frames: Sequence[Frame]) -> torch.Tensor:
        return self.stock.logits(frames, *self.adapter._patches(frames), QUESTION)

    def masked(self, frames: Sequence[Frame], sees: list[set[int]], held: set[int], n_instant: int) -> torch.Tensor:
        patches, grids = self.adapter._patches(frames)
        shape = int(grids[0, 1]) // 2, int(grids[0, 2]) // 2
        ends = [len(self.stock.layout(frames[: 2 * (grid + 1)], *shape)[0]) for grid in range(len(grids))]
        n_prefix = len(self.stock.ids(self.stock.prefix))
        n_tokens = ends[-1] + len(self.stock.ids(self.stock.question.format(text=QUESTION)))
        visible_TT = visible(n_prefix, ends, n_tokens, sees, held, n_instant)
        n_older = 2 * max(len(grids) - n_instant, 0)
        first = len(self.stock.layout(frames[:n_older], *shape)[0])
        again = prefix_again(n_prefix, self.stock.layout(frames, *shape)[1][first], self.adapter.facts.time_axes)
        return self.stock.masked_logits(frames, patches, grids, QUESTION, visible_TT, again)


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Any:
    return load_adapter(str(folder))


@pytest.fixture(scope="module")
def stock(folder: Path, adapter: Any) -> Llava | Qwen:
    return (Llava if folder.name == "llava_onevision" else Qwen)(folder, adapter)


def watched(adapter: Any, policy: Policy, n_frames: int, piece: int = 4) -> Any:
    stream = open_direct(adapter, policy)
    watch_direct(stream, make_frames(n_frames, seed=9), piece)
    stream.memory.check_invariants()
    return stream


def test_recent_frames_equal_a_clip_of_those_frames(adapter: Any, stock: Llava | Qwen) -> None:
    """Three grids of a longer stream; they say the times at which they were shown."""
    n_frames = 8 * stock.per_grid
    stream = watched(adapter, RecentFrames(frames=3, budget=1000), n_frames)
    expected = stock.logits(make_frames(n_frames, seed=9)[-3 * stock.per_grid :])
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("piece", [2, 4])
@pytest.mark.parametrize(("n_instant", "n_grids"), [(1, 4), (2, 3), (2, 8), (3, 8)])
def test_a_question_sees_window_and_instant_frames_as_the_stock_model_does(
    adapter: Any, stock: Llava | Qwen, n_instant: int, n_grids: int, piece: int
) -> None:
    """A budget of four grids; with eight of them the window has dropped some, which its frames had read."""
    per_frame, n_frames = adapter.facts.tokens_per_frame, n_grids * stock.per_grid
    stream = watched(adapter, DSCache(budget=4 * per_frame, instant=n_instant, positions="keep"), n_frames, piece)
    sees, held = frames_seen(n_grids, 4 // stock.per_grid, n_instant, 4 - n_instant)
    expected = stock.masked(make_frames(n_frames, seed=9), sees, held, n_instant)
    before = memory_bits(stream)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)
    assert_same_bits(before, memory_bits(stream))


@pytest.mark.parametrize("n_frames", [6, 7])
def test_instant_frames_that_hold_the_whole_stream_are_recent_frames(adapter: Any, n_frames: int) -> None:
    """Also the frame that waits for its partner."""
    budget = 8 * adapter.facts.tokens_per_frame
    ours = watched(adapter, DSCache(budget=budget, instant=8), n_frames)
    theirs = watched(adapter, RecentFrames(budget=budget), n_frames)
    torch.testing.assert_close(question_logits(ours, QUESTION), question_logits(theirs, QUESTION), atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["keep", "compact", "contiguous"])
def test_no_instant_frames_are_a_sliding_window(adapter: Any, positions: str) -> None:
    budget = 3 * adapter.facts.tokens_per_frame
    ours = watched(adapter, DSCache(budget=budget, instant=0, positions=positions), 18)
    theirs = watched(adapter, SlidingWindow(budget=budget, positions=positions), 18)
    assert_same_bits(memory_bits(ours), memory_bits(theirs))
    assert torch.equal(question_logits(ours, QUESTION), question_logits(theirs, QUESTION))


def test_savemem_with_room_for_the_stream_is_recent_frames_that_hold_it(adapter: Any) -> None:
    """To the last bit; and if the gate says that the newest frames are enough, it is recent-frames with so many."""
    budget = 12 * adapter.facts.tokens_per_frame
    whole = watched(adapter, SAVEMem(budget=budget), 10)
    assert torch.equal(question_logits(whole, QUESTION), question_logits(watched_all(adapter, budget), QUESTION))
    gated = watched(adapter, SAVEMem(budget=budget, short=2, gate=0.001), 10)
    gated.state = replace(gated.state, usual=-1000.0)
    newest = watched(adapter, RecentFrames(frames=2, budget=budget), 10)
    assert torch.equal(question_logits(gated, QUESTION), question_logits(newest, QUESTION))


def watched_all(adapter: Any, budget: int) -> Any:
    return watched(adapter, RecentFrames(budget=budget), 10)


def test_standing_texts_are_embedded_as_raw_text(adapter: Any) -> None:
    stream = open_direct(adapter, SAVEMem(budget=3 * adapter.facts.tokens_per_frame))
    expected = [adapter.guidance(text) for text in SAVEMem.texts]
    assert len(stream.texts) == 5
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(stream.texts, expected, strict=True))


def test_features_stay_within_a_budget_of_bytes(folder: Path) -> None:
    """Those of DeepStack's taps included, which are two thirds of Qwen3-VL's."""
    with Engine(load_adapter(str(folder))) as engine, engine.open("recent-frames", budget="64KiB") as session:
        session.watch(make_frames(40))
        assert 32 * 1024 < session.memory.features.n_bytes <= 64 * 1024


def test_a_stream_with_instant_frames_never_runs_out_of_positions(adapter: Any) -> None:
    """Questions find room for them at any time."""
    stream = open_direct(adapter, DSCache(budget=3 * adapter.facts.tokens_per_frame, instant=2, positions="keep"))
    for start in range(0, 160, 4):
        frames = [type(frame)(start + frame.pts_seconds, frame.image_YXC) for frame in make_frames(4, seed=start % 7)]
        watch_direct(stream, frames, 4)
        assert bool(question_logits(stream, QUESTION).isfinite().all())
    stream.memory.check_invariants()
