"""Qwen2.5-VL's text after a video as transformers 5 places it: against the stock model, left to its own positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, Hermes, KeepAll, Policy, RecentFrames, SlidingWindow
from hermes_stream.engine.batch import ProbeSegment
from hermes_stream.engine.ingest import Piece
from hermes_stream.errors import ConfigError
from hermes_stream.models.load import load_adapter
from tests.engine.direct import make_task, open_direct, question_logits, watch_direct
from tests.oracles.stock_qwen import StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("qwen2_5_vl", tmp_path_factory.mktemp("checkpoints") / "qwen2_5_vl")


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Any:
    return load_adapter(str(folder), text_positions="overlap")


@pytest.fixture(scope="module")
def stock(folder: Path) -> StockQwen2_5VL:
    return StockQwen2_5VL(folder)


@pytest.mark.parametrize("piece_frames", [2, 3, 12])
def test_logits_equal_the_stock_forward_at_its_own_positions(
    adapter: Any, stock: StockQwen2_5VL, piece_frames: int
) -> None:
    frames = make_frames(12, seed=4)
    expected = stock.own_logits(frames, *adapter._patches(frames), QUESTION)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, piece_frames)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


def test_the_two_rules_differ_on_a_video_that_is_longer_than_wide(folder: Path, stock: StockQwen2_5VL) -> None:
    """So that the comparison above can fail: the other rule does not give these logits."""
    frames = make_frames(12, seed=4)
    other = load_adapter(str(folder))
    stream = open_direct(other, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, 4)
    expected = stock.own_logits(frames, *other._patches(frames), QUESTION)  # type: ignore[attr-defined]
    assert float((question_logits(stream, QUESTION) - expected).abs().max()) > 1e-2


def test_greedy_answers_equal_the_stock_models_generate(adapter: Any, folder: Path, stock: StockQwen2_5VL) -> None:
    frames = make_frames(12, seed=5)
    expected = stock.own_greedy(frames, *adapter._patches(frames), QUESTION, 8)
    with Engine(load_adapter(str(folder), text_positions="overlap")) as engine, engine.open(KeepAll()) as session:
        session.watch(frames)
        found = list(session.ask(QUESTION, max_new_tokens=8).result().token_ids)
    # Ours stops at the end of the answer; `generate` was told to go on.
    assert found == expected[: len(found)]
    assert found


def test_a_frame_without_a_partner_does_not_move_the_text(adapter: Any, stock: StockQwen2_5VL) -> None:
    frames = make_frames(7, seed=6)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, 3)
    assert stream.waiting == (frames[6],)
    shown = [*frames, frames[6]]
    expected = stock.own_logits(shown, *adapter._patches(shown), QUESTION)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


def test_recent_frames_answer_like_a_clip_of_those_frames_alone(adapter: Any, stock: StockQwen2_5VL) -> None:
    frames = make_frames(12, seed=9)
    stream = open_direct(adapter, RecentFrames(frames=3, budget=1000), chunk_frames=4)
    watch_direct(stream, frames, 4)
    last = frames[-6:]
    expected = stock.own_logits(last, *adapter._patches(last), QUESTION)
    torch.testing.assert_close(question_logits(stream, QUESTION), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("policy", [Hermes(budget=80), Hermes(budget=80, reindex="eager"), SlidingWindow(budget=80)])
def test_questions_and_probes_stand_behind_the_grid_however_long_the_stream(adapter: Any, policy: Policy) -> None:
    stream = open_direct(adapter, policy)
    n_rows, n_columns = 4, 8
    behind_grid = adapter.facts.prefix_tokens + max(n_rows, n_columns)
    for start in range(0, 300, 4):
        frames = make_frames(4, seed=start % 7)
        frames = [type(frame)(start + frame.pts_seconds, frame.image_YXC) for frame in frames]
        watch_direct(stream, frames, 4)
        version = stream.memory.current
        assert version.text_position == behind_grid <= version.next_position <= 512
    stream.memory.check_invariants()
    task, _ = make_task(stream, QUESTION)
    assert task.segment().position_RT[:, 0].tolist() == [behind_grid] * 3
    with torch.inference_mode():
        piece = Piece(stream, [type(frame)(300 + frame.pts_seconds, frame.image_YXC) for frame in make_frames(4)])
        probes = [segment for segment in piece.segments() if isinstance(segment, ProbeSegment)]
    assert all(probe.position_RT[:, 0].tolist() == [behind_grid] * 3 for probe in probes)
    assert len(probes) == 2 * (policy.name == "hermes")


def test_in_qwen3_the_rules_agree(tmp_path: Path) -> None:
    """Its times are words, so the stock model's own positions are ours, and so are its answers."""
    folder = save_checkpoint("qwen3_vl", tmp_path / "qwen3_vl")
    adapter, stock, frames = load_adapter(str(folder)), StockQwen3VL(folder), make_frames(12, seed=4)
    stream = open_direct(adapter, KeepAll(), chunk_frames=64)
    watch_direct(stream, frames, 4)
    clip = frames, *adapter._patches(frames), QUESTION  # type: ignore[attr-defined]
    torch.testing.assert_close(question_logits(stream, QUESTION), stock.own_logits(*clip), atol=1e-4, rtol=0)
    with Engine(adapter) as engine, engine.open(KeepAll()) as session:
        session.watch(frames)
        found = list(session.ask(QUESTION, max_new_tokens=8).result().token_ids)
    assert found == stock.own_greedy(*clip, 8)[: len(found)]


def test_the_rule_is_validated(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean overlap"):
        load_adapter(str(folder), text_positions="overlaps")
    other = save_checkpoint("qwen3_vl", tmp_path / "qwen3_vl")
    with pytest.raises(ConfigError, match="which qwen3-vl does not have"):
        load_adapter(str(other), text_positions="overlap")
