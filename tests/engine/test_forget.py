"""What a stream forgets is gone from all that it holds; it goes on, and the report is true."""

from __future__ import annotations

import gc
import math
import os
import threading
from pathlib import Path

import pytest
import torch

from hermes_stream import Engine, Forgotten, KeepAll, Session, SlidingWindow, UsageError
from hermes_stream.engine.forgetting import forget_times
from hermes_stream.engine.snapshot import take_snapshot
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.spec import parse_memory
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
from .held_up import held_up
from .test_as_of import COMPOSITIONS, start
from .test_live import wait_until_idle

QUESTION = "What is left?"
N_LAYERS = 3


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_adapter(str(save_checkpoint(request.param, folder / request.param, num_hidden_layers=N_LAYERS)))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = save_checkpoint("llava_onevision", tmp_path_factory.mktemp("one") / "llava", num_hidden_layers=N_LAYERS)
    return load_adapter(str(folder))


def of_time(table: TokenTable, start_seconds: float, end_seconds: float) -> list[int]:
    """Kinds of the rows that may be of frames of a time, head by head: from the definition."""
    found = []
    for head in range(table.n_heads):
        columns = table.kind_HN[head].tolist(), *table.span_2HN[:, head].tolist()
        for kind, first, last in zip(*columns, strict=True):
            is_made = kind == TokenKind.SUMMARY
            frames = [first, last]
            if is_made:
                frames += [second for second in range(100) if first < second < last]
            if any(start_seconds <= frame < end_seconds for frame in frames):
                found.append(int(kind))
    return found


def parts_of(stream: Stream) -> tuple[list[TokenTable], list[TokenTable], TokenTable]:
    """Tables of what is held, archived, and waits as features."""
    version = stream.memory.current
    held = [layer.table.slice(version.n_prefix) for layer in version.layers]
    return held, [block.table for layer in version.layers for block in layer.archive.blocks], version.features.table


def assert_gone(stream: Stream, start_seconds: float, end_seconds: float) -> None:
    held, archived, features = parts_of(stream)
    encoded = [] if stream.encoded is None else [stream.encoded.table]
    assert not any(of_time(table, start_seconds, end_seconds) for table in (*held, *archived, features, *encoded))
    assert not any(start_seconds <= frame.pts_seconds < end_seconds for frame in stream.waiting)
    stream.memory.check_invariants()


@pytest.mark.parametrize("memory", [*POLICIES, *COMPOSITIONS])
def test_a_memory_forgets_and_goes_on(memory: str, adapter: Adapter) -> None:
    """Within an interval, between the two frames of a pair, in the middle and at the end; forks stay as they are."""
    stream = start(adapter, memory, 4)
    watch_direct(stream, make_frames(19), 4)
    fork, before = stream.fork(), take_snapshot(stream)
    for start_seconds, end_seconds in ((3.0, 6.0), (12.5, 14.5), (17.0, math.inf)):
        held, archived, features = parts_of(stream)
        kinds = [kind for table in held for kind in of_time(table, start_seconds, end_seconds)]
        n_waiting = sum(frame.pts_seconds >= start_seconds for frame in stream.waiting)
        seen = stream.memory.current.frames_seen
        report = forget_times(stream, start_seconds, end_seconds)
        assert_gone(stream, start_seconds, end_seconds)
        assert (report.n_vision_rows, report.n_text_rows, report.n_summaries) == tuple(
            kinds.count(kind) for kind in (TokenKind.VISION, TokenKind.TEXT, TokenKind.SUMMARY)
        )
        assert report.n_archived_rows == sum(len(of_time(table, start_seconds, end_seconds)) for table in archived)
        assert report.n_features == len(of_time(features, start_seconds, end_seconds))
        assert report.n_frames == (n_waiting if math.isinf(end_seconds) else 0)
        assert stream.memory.current.frames_seen == seen
        assert stream.front_states == (None,) * len(stream.policy.front_ends)
        assert bool(question_logits(stream, QUESTION).isfinite().all())
    assert_same_snapshots(before, take_snapshot(fork))
    twin = restore_direct(adapter, take_snapshot(stream))
    for first in (19, 21, 26):
        for each in (stream, twin):
            watch_direct(each, make_frames(first - 17, start=first), 3)
        stream.memory.check_invariants()
        assert bool(question_logits(stream, QUESTION).isfinite().all())
    assert_same_streams(stream, twin)
    watch_direct(fork, make_frames(3, start=19), 3)


def test_to_forget_is_to_hide_rows_from_later_questions(adapter: Adapter) -> None:
    """With everything held: bit by bit what an eviction of these frames leaves."""
    ours, theirs = (open_direct(adapter, KeepAll(), chunk_frames=4) for _ in range(2))
    for stream in (ours, theirs):
        watch_direct(stream, make_frames(12), 4)
    forget_times(ours, 4.0, 8.0)
    version = theirs.memory.current
    first_HN = version.layers[0].table.span_2HN[0, :, version.n_prefix :]
    stays_N = (first_HN[0] < 4) | (first_HN[0] >= 8)
    theirs.memory.apply(Plan.same_rows(stays_N.nonzero()[:, 0], N_LAYERS))
    assert_same_bits(memory_bits(ours), memory_bits(theirs))
    assert torch.equal(question_logits(ours, QUESTION), question_logits(theirs, QUESTION))


def test_a_time_in_which_nothing_was_shown(llava: Adapter) -> None:
    """Nothing changes but what is remembered of questions."""
    stream = start(llava, "causalmem", 4)
    watch_direct(stream, make_frames(9), 4)
    before = take_snapshot(stream)
    for start_seconds, end_seconds in ((-5.0, 0.0), (3.2, 3.9), (9.0, math.inf)):
        report = forget_times(stream, start_seconds, end_seconds)
        assert report == Forgotten(
            start_seconds, end_seconds, 0, 0, 0, 0, 0, 0, 0, 0,
            ("forks, snapshots and files that were made before are not changed",),
        )  # fmt: skip
    after = take_snapshot(stream)
    assert before.structure["stream"] == after.structure["stream"]
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())


def test_a_policy_that_fails_to_forget_leaves_everything_as_it_was(
    llava: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = start(llava, "rekv", 4)
    watch_direct(stream, make_frames(9), 4)
    before = take_snapshot(stream)
    monkeypatch.setattr(type(stream.policy), "forget", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        forget_times(stream, 2.0, 5.0)
    assert_same_snapshots(before, take_snapshot(stream))


def test_bytes_in_a_file_are_overwritten(llava: Adapter, tmp_path: Path) -> None:
    stream = open_direct(llava, parse_memory(f"rekv(host=1B, disk={tmp_path})", 27), chunk_frames=4)
    watch_direct(stream, make_frames(12), 4)
    archive = stream.memory.current.layers[1].archive
    secret = archive.read(None, torch.device("cpu"))[1][:, 3 * 9 : 4 * 9]
    secrets = [part.contiguous().numpy().tobytes() for part in secret]
    store = stream.memory.store
    assert store is not None
    assert store._file is not None
    number = store._file._file.fileno()

    def content() -> bytes:
        return os.pread(number, os.fstat(number).st_size, 0)

    fork = stream.fork()
    del archive
    assert all(part in content() for part in secrets)
    forget_times(stream, 3.0, 4.0)
    assert all(part in content() for part in secrets), "the fork has them still"
    forget_times(fork, 3.0, 4.0)
    assert not any(part in content() for part in secrets)
    assert bool(question_logits(stream, QUESTION).isfinite().all())


@pytest.fixture
def session(engine: Engine) -> Session:
    session = engine.open(SlidingWindow(budget=60), chunk=4)
    session.watch(make_frames(6))
    session.ask("Which colour?", remember=True, max_new_tokens=2).result()
    return session


def test_a_session_forgets(session: Session, engine: Engine) -> None:
    used = engine.stats.used_bytes
    report = session.forget(1.0, 3.0)
    assert report == Forgotten(
        1.0,
        3.0,
        n_vision_rows=2 * 9 * 12,
        n_text_rows=0,
        n_summaries=0,
        n_other_rows=0,
        n_archived_rows=0,
        n_features=0,
        n_frames=0,
        n_turns=1,
        remains=(
            "forks, snapshots and files that were made before are not changed",
            "when frames were shown, and how many, is still known",
            "which other rows were kept was decided with these frames in view",
            "memory that was given back is overwritten when it is used again, not before",
            "rows of later frames were computed while they saw these frames",
        ),
    )
    assert session.stream.history == ()
    assert session.memory.held_tokens == (4 * 9,) * 12
    assert engine.stats.used_bytes <= used
    session.check_invariants()
    session.watch(make_frames(4, start=6))
    assert session.ask(QUESTION, max_new_tokens=2).result().frames_seen == 10
    past = session.as_of(2.5).stats.as_of
    assert past is not None
    assert (past.is_exact, past.newest_seconds, past.n_missing_tokens) == (False, 0.0, 2 * 9)
    last = session.forget(9.0, math.inf)
    assert "rows of later frames were computed while they saw these frames" not in last.remains


def test_bad_times_are_refused(session: Session) -> None:
    for times in ((3.0, 3.0), (4.0, 3.0), (math.nan, 3.0), (0.0, math.nan)):
        with pytest.raises(UsageError, match="expected seconds, the end later"):
            session.forget(*times)
    assert session.stream.history != ()


def test_answers_under_way_see_what_they_were_asked_of(session: Session) -> None:
    """They pin their version, and the report says so."""
    with session.fork() as twin:
        expected = twin.ask(QUESTION, max_new_tokens=8).result().text
    with held_up(session):
        answer = session.ask(QUESTION, max_new_tokens=8)
        reports: list[Forgotten] = []
        forgetting = threading.Thread(target=lambda: reports.append(session.forget(0.0, math.inf)))
        forgetting.start()
        while session._engine._worker._inbox.qsize() < 2:
            pass
    forgetting.join(60)
    assert answer.result().text == expected
    assert "1 answers that are being given see the frames until they end" in reports[0].remains
    assert session.memory.held_tokens == (0,) * 12


def test_frames_on_their_way_do_not_come_in(session: Session) -> None:
    """Those of a live source are counted as dropped; the others come in, in their order."""
    with held_up(session):
        session.offer(make_frames(6, start=6))
        reports: list[Forgotten] = []
        forgetting = threading.Thread(target=lambda: reports.append(session.forget(7.0, 9.0)))
        forgetting.start()
    forgetting.join(60)
    wait_until_idle(session)
    (report,) = reports
    assert (report.n_frames, session.stats.frames_dropped) == (2, 2)
    frames = session.memory.layers[0].table.seconds_HN[0, session.memory.n_prefix :].unique().tolist()
    assert [second for second in frames if second >= 6] == [6.0, 9.0, 10.0, 11.0]
    assert session.stats.frames_seen == 10
    session.watch(make_frames(1, start=12))


def test_frames_that_are_being_watched_do_not_come_in(session: Session) -> None:
    """Whoever watches is told that all are in; also if none of theirs is left."""
    for times, expected in (((7.0, 9.0), [6.0, 9.0]), ((10.0, math.inf), [6.0, 9.0])):
        frames = make_frames(4, start=6 if times[0] == 7.0 else 10)
        with held_up(session):
            watching = threading.Thread(target=session.watch, args=(frames,))
            watching.start()
            while not session._engine._worker._inbox.qsize():
                pass
            forgetting = threading.Thread(target=session.forget, args=times)
            forgetting.start()
        watching.join(60)
        forgetting.join(60)
        assert not watching.is_alive()
        table = session.memory.layers[0].table
        seconds = table.seconds_HN[0, session.memory.n_prefix :].unique().tolist()
        assert [second for second in seconds if second >= 6] == expected
        session.check_invariants()


def test_retention_keeps_an_archive_bounded(engine: Engine, tmp_path: Path) -> None:
    """To forget what is older than ten seconds, again and again: as many rows, as many bytes."""
    with engine.open(f"rekv(bits=8, host=40KiB, disk={tmp_path})", budget=27, chunk=4) as session:
        n_bytes = []
        for first in range(0, 80, 4):
            session.watch(make_frames(4, start=first, seed=first))
            session.forget(-math.inf, first - 7)
            session.check_invariants()
            n_bytes.append(session.stats.archive_bytes + session.stats.disk_bytes)
            assert session.ask(QUESTION, max_new_tokens=1).result().token_ids
        gc.collect()
        assert len(set(n_bytes[4:])) == 1
        assert session.stats.disk_bytes > 0
        store = session.stream.memory.store
        assert store is not None
        assert store._file is not None
        assert store._file.n_bytes == session.stats.disk_bytes
