"""A stream as of a moment of its past: nothing later is seen, and what it says of itself is true."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hermes_stream import AsOf, Engine, Gap, KeepAll, Session, SlidingWindow, UsageError
from hermes_stream.engine import seen as seen_module
from hermes_stream.engine.as_of import as_of
from hermes_stream.engine.snapshot import take_snapshot
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Turn
from tests.tiny import make_frames, save_checkpoint

from .direct import (
    assert_same_snapshots,
    assert_same_streams,
    open_direct,
    question_logits,
    restore_direct,
    watch_direct,
)

QUESTION = "What is left?"
COMPOSITIONS = [
    "dtd(drop=0.4) | keep-all",
    "dtd | hermes + recent(frames=1)",
    "infinipot-v + recent(frames=1) + gate",
    "rekv + recent(frames=1)",
    "hermes + pages(keep=0.5)",
    "streammem + fresh(frames=1) + gate",
    "keep-all + fresh(frames=2)",
    "tiered + recent(frames=1)",
]


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param, num_hidden_layers=3)))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = save_checkpoint("llava_onevision", tmp_path_factory.mktemp("one") / "llava", num_hidden_layers=3)
    return load_adapter(str(folder))


def start(adapter: Adapter, memory: str, n_frames: int = 3) -> Stream:
    policy = parse_memory(memory, bytes_per_token=1).with_budget(n_frames * adapter.facts.tokens_per_frame)
    return open_direct(adapter, policy, chunk_frames=4)


def watch_and_ask(stream: Stream, n_frames: int, piece_frames: int) -> dict[float, torch.Tensor]:
    """What a question gets after each piece, by the time of the newest frame; before the first one it is -1."""
    logits = {-1.0: question_logits(stream, QUESTION)}
    for first in range(0, n_frames, piece_frames):
        watch_direct(stream, make_frames(piece_frames, start=first), piece_frames)
        logits[stream.newest_seconds or 0.0] = question_logits(stream, QUESTION)
    return logits


def tables_of(stream: Stream) -> list[TokenTable]:
    version = stream.memory.current
    held = [layer.table.slice(version.n_prefix) for layer in version.layers]
    archived = [block.table for layer in version.layers for block in layer.archive.blocks]
    return [*held, *archived, version.features.table]


def assert_is_as_of(past: Stream, seconds: float) -> AsOf:
    """The laws hold, nothing is later, it can be asked, and what it says of itself fits."""
    past.memory.check_invariants()
    report, version = past.as_of, past.memory.current
    assert report is not None
    assert report.time_seconds == seconds
    newest = max((float(table.span_2HN[1].max()) for table in tables_of(past) if table.n_tokens), default=None)
    assert past.encoded is None or bool((past.encoded.table.span_2HN[1] <= seconds).all())
    assert all(frame.pts_seconds <= seconds for frame in past.waiting)
    assert newest is None or newest <= seconds
    assert report.newest_seconds == (past.waiting[-1].pts_seconds if past.waiting else newest)
    assert version.time_seconds <= max(seconds, 0)
    assert version.frames_seen == sum(frame <= seconds for frame in range(version.frames_seen))
    assert bool(question_logits(past, QUESTION).isfinite().all())
    return report


@pytest.mark.parametrize("piece_frames", [1, 4])
def test_with_everything_held_it_is_asked_as_it_was_then(adapter: Adapter, piece_frames: int) -> None:
    """Bit by bit, at every moment."""
    stream = open_direct(adapter, KeepAll(), chunk_frames=4)
    logits = watch_and_ask(stream, 12, piece_frames)
    before, per_grid = take_snapshot(stream), adapter.facts.frames_per_grid
    for seconds, expected in logits.items():
        for moment in (seconds, seconds + 0.5):
            past = as_of(stream, moment)
            report = assert_is_as_of(past, moment)
            is_torn = per_grid == 2 and seconds % 2 == 0 and seconds < 11
            assert report.is_exact != is_torn
            if not is_torn:
                assert torch.equal(question_logits(past, QUESTION), expected)
                assert report.n_missing_tokens == 0
                assert past.memory.current.frames_seen == seconds + 1
    assert_same_snapshots(before, take_snapshot(stream))


def test_text_over_the_frames_times_is_asked_as_it_was_then(tmp_path: Path) -> None:
    """Qwen2.5-VL with transformers 5's place of text, behind rows and columns."""
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "qwen2_5_vl", num_hidden_layers=3)
    stream = open_direct(load_adapter(str(folder), text_positions="overlap"), KeepAll(), chunk_frames=4)
    for seconds, expected in watch_and_ask(stream, 8, 2).items():
        past = as_of(stream, seconds)
        assert assert_is_as_of(past, seconds).is_exact
        assert torch.equal(question_logits(past, QUESTION), expected)


def test_within_a_piece_it_differs_by_rounding_alone(adapter: Adapter) -> None:
    """Text stands where it would have stood, also where tokens were dropped at the end of a frame."""
    for memory in ("keep-all", "dtd(drop=0.4) | keep-all"):
        whole, single = (open_direct(adapter, parse_memory(memory), chunk_frames=64) for _ in range(2))
        watch_direct(whole, make_frames(8), 8)
        for seconds, expected in watch_and_ask(single, 8, adapter.facts.frames_per_grid).items():
            past = as_of(whole, seconds)
            assert assert_is_as_of(past, seconds).is_exact
            torch.testing.assert_close(question_logits(past, QUESTION), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("memory", [*POLICIES, *COMPOSITIONS])
def test_what_it_says_of_itself_is_true(memory: str, adapter: Adapter) -> None:
    """Exact answers are those of then; others see nothing of later, and the stream itself is not touched."""
    stream = start(adapter, memory, 3)
    logits = watch_and_ask(stream, 12, 3)
    before = take_snapshot(stream)
    for seconds, expected in logits.items():
        past = as_of(stream, seconds)
        if assert_is_as_of(past, seconds).is_exact:
            assert torch.equal(question_logits(past, QUESTION), expected)
    again = restore_direct(adapter, take_snapshot(past := as_of(stream, 8.0)))
    assert_same_streams(past, again)
    assert torch.equal(question_logits(past, QUESTION), question_logits(again, QUESTION))
    assert_is_as_of(as_of(past, 4.0), 4.0)
    assert_same_snapshots(before, take_snapshot(stream))


@pytest.mark.parametrize("memory", [*POLICIES])
def test_now_is_exact(memory: str, llava: Adapter) -> None:
    stream = start(llava, memory, 4)
    logits = watch_and_ask(stream, 14, 4)
    past = as_of(stream, 100.0)
    assert assert_is_as_of(past, 100.0).is_exact
    assert torch.equal(question_logits(past, QUESTION), logits[15.0])


@pytest.mark.parametrize("memory", ["rekv", "streamingtom(bits=16)", "rekv + recent(frames=1)"])
def test_what_archives_everything_answers_as_it_did(memory: str, adapter: Adapter) -> None:
    """Its window has moved on, so that the memory is not what it was; but nothing that a question saw is missing."""
    stream = start(adapter, memory)
    logits = watch_and_ask(stream, 16, 2)
    for seconds in (5.0, 7.0, 11.0):
        past = as_of(stream, seconds)
        report = assert_is_as_of(past, seconds)
        assert (report.is_exact, report.n_missing_tokens) == (False, 0)
        if "recent" not in memory:
            torch.testing.assert_close(question_logits(past, QUESTION), logits[seconds], atol=1e-4, rtol=1e-4)


def test_what_is_missing_is_counted(llava: Adapter) -> None:
    """Nine tokens a frame: a window has lost its old ones, a uniform memory every second, and so on."""
    for memory in ("sliding-window", "uniform", "random", "hermes", "recent-frames"):
        stream = start(llava, memory, 4)
        watch_direct(stream, make_frames(21), 4)
        for seconds in (3.0, 10.0, 17.0, 19.5):
            past = as_of(stream, seconds)
            report, version = assert_is_as_of(past, seconds), past.memory.current
            n_seen = 9 * (int(seconds) + 1)
            held = [int(table.count_HN[0].sum()) for table in tables_of(past)[: len(version.layers)]]
            n_held = int(version.features.table.count_HN.sum()) if memory == "recent-frames" else min(held)
            assert report.n_missing_tokens == n_seen - n_held
            assert version.n_seen == (0 if memory == "recent-frames" else n_seen)


def test_a_frame_whose_partner_is_later_is_missing(adapter: Adapter) -> None:
    if adapter.facts.frames_per_grid == 1:
        return
    stream = open_direct(adapter, KeepAll(), chunk_frames=4)
    watch_direct(stream, make_frames(8), 4)
    per_grid = stream.memory.current.n_seen // 4
    assert as_of(stream, 4.0).as_of == AsOf(4.0, 3.0, False, per_grid)
    assert as_of(stream, 3.5).as_of == AsOf(3.5, 3.0, True, 0)


def test_waiting_frames_are_cut_too(adapter: Adapter) -> None:
    stream = open_direct(adapter, KeepAll(), chunk_frames=4)
    watch_direct(stream, make_frames(5), 4)
    past = as_of(stream, 3.0)
    assert past.waiting == ()
    assert assert_is_as_of(past, 3.0).is_exact
    assert as_of(stream, 4.0).waiting == stream.waiting


def test_summaries_that_hold_anything_later_are_cut(llava: Adapter) -> None:
    stream = start(llava, "hermes(summary=all)", 4)
    watch_direct(stream, make_frames(40), 4)
    tables = tables_of(stream)[:3]
    spans = [span for table in tables for span in table.span_2HN[:, 0, table.kind_HN[0] == 3].T.tolist()]
    assert len(spans) > 3
    for _, last in spans:
        kept = [
            tuple(span)
            for table in tables_of(as_of(stream, last))[:3]
            for span in table.span_2HN[:, 0, table.kind_HN[0] == 3].T.tolist()
        ]
        assert kept == [tuple(span) for span in spans if span[1] <= last]


def test_a_long_stream_knows_old_moments_in_runs(llava: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_module, "MOST_ENTRIES", 8)
    stream = open_direct(llava, KeepAll(), chunk_frames=4)
    watch_direct(stream, make_frames(40), 3)
    assert stream.seen.n_entries <= 8
    exact = []
    for seconds in range(40):
        past = as_of(stream, float(seconds))
        exact.append(assert_is_as_of(past, float(seconds)).is_exact)
        held = past.memory.current.held_tokens[0]
        assert held == 9 * (seconds + 1)
    assert exact[-4:] == [True] * 4
    assert not all(exact)


@pytest.fixture
def session(engine: Engine) -> Session:
    session = engine.open(SlidingWindow(budget=30), chunk=4)
    session.watch(make_frames(6))
    session.ask("Which colour?", remember=True, max_new_tokens=2).result()
    session.mark_gap(5.0, 9.0, "away")
    session.watch([type(frame)(frame.pts_seconds + 10, frame.image_YXC) for frame in make_frames(2)])
    return session


def test_a_session_of_the_past(session: Session, engine: Engine) -> None:
    with session.as_of(4.5) as past:
        assert past.stats.as_of == past.stream.as_of
        assert past.stats.time_seconds == 4.0
        assert past.stats.gaps == past.stream.history == ()
        assert past.ask(QUESTION, max_new_tokens=2).result().time_seconds == 4.0
        past.check_invariants()
        for take in (past.watch, past.offer):
            with pytest.raises(UsageError, match=r"as of 4\.500 s and takes no frames; watch the one that it was made"):
                take(make_frames(1, start=20))
        with pytest.raises(UsageError, match="takes no frames"):
            past.mark_gap(30.0, 40.0, "away")
        with past.fork() as fork, engine.restore(past.snapshot()) as restored:
            for each in (fork, restored):
                assert each.stats.as_of == past.stats.as_of
                with pytest.raises(UsageError, match="takes no frames"):
                    each.watch(make_frames(1, start=20))
    assert session.stats.as_of is None
    session.watch([make_frames(13)[12]])


def test_gaps_and_turns_are_those_of_then(session: Session) -> None:
    assert session.as_of(7.0).stats.gaps == (Gap(5.0, 7.0, "away"),)
    assert session.as_of(9.0).stats.gaps == session.stats.gaps == (Gap(5.0, 9.0, "away"),)
    assert session.as_of(5.0).stream.history == session.stream.history != ()
    session.stream.history = (Turn("Whenever?", "once"),)
    assert session.as_of(5.0).stream.history == ()


def test_a_time_that_is_none_is_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="as of a time that is no number"):
        session.as_of(math.nan)
    now, ever = session.as_of(11.0).stats.as_of, session.as_of(math.inf).stats.as_of
    assert now is not None
    assert ever == replace(now, time_seconds=math.inf) == AsOf(math.inf, 11.0, True, now.n_missing_tokens)
    assert session.as_of(-5.0).stats.frames_seen == 0
