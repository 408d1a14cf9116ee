"""What a session promises: asking changes nothing, forks go their own way, cancelled answers end, times never fall."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, Frame, KeepAll, Query, RecentFrames, Session, SlidingWindow, UsageError
from hermes_stream.errors import ConfigError, LimitError, PolicyError, SessionClosed
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.base import Turn
from tests.engine.direct import assert_same_bits, memory_bits
from tests.tiny import make_frames


@pytest.fixture
def session(engine: Engine) -> Session:
    return engine.open(SlidingWindow(budget=30))


def test_asking_leaves_the_memory_bit_identical(session: Session) -> None:
    session.watch(make_frames(7))
    before, version = memory_bits(session.stream), session.memory
    for query in (Query("Which colour?", max_new_tokens=5), Query("x", temperature=1.0, top_k=5, max_new_tokens=5)):
        session.ask(query).result()
    session.ask("a", remember=True, max_new_tokens=3).result()
    next(cancelled := session.ask("left or right?"))
    cancelled.cancel()
    with pytest.raises(SessionClosed):
        cancelled.result()
    with pytest.raises(LimitError, match="ask a shorter one"):
        session.ask("word " * 2000).result()
    assert session.memory is version
    assert_same_bits(before, memory_bits(session.stream))


def test_a_question_that_fails_while_decoding_leaves_the_memory_bit_identical(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.watch(make_frames(5))
    before = memory_bits(session.stream)
    monkeypatch.setattr(session.stream.adapter, "token", lambda token_id: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.ask("Which colour?").result()
    monkeypatch.undo()
    assert_same_bits(before, memory_bits(session.stream))
    assert session.ask("Which colour?", max_new_tokens=2).result().token_ids


def test_a_failed_forward_loses_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frames of the failed call can be watched again, with the same result as if nothing had happened."""
    twin = session.fork()
    session.watch(make_frames(2))
    twin.watch(make_frames(2))
    calls = 0
    attend = session.stream.adapter.run

    def fail_late(batch: Any) -> Any:
        nonlocal calls
        calls += 1
        attend(batch)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(session.stream.adapter, "run", fail_late)
    with pytest.raises(RuntimeError, match="out of memory"):
        session.watch(make_frames(3, start=2))
    monkeypatch.undo()
    assert calls == 1
    session.watch(make_frames(3, start=2))
    twin.watch(make_frames(3, start=2))
    session.check_invariants()
    assert_same_bits(memory_bits(session.stream), memory_bits(twin.stream))


def test_a_pinned_version_is_not_disturbed_by_ingest(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=20)) as session:
        session.watch(make_frames(4))
        pinned = session.memory
        before = [layer.keys.clone() for layer in pinned.layers]
        answer = session.ask("Which colour?", max_new_tokens=20)
        session.watch(make_frames(20, start=4))
        assert all(torch.equal(a, layer.keys) for a, layer in zip(before, pinned.layers, strict=True))
        assert answer.result().frames_seen == 4


def test_forks_share_a_past_and_go_their_own_way(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=40)) as session, engine.open(SlidingWindow(budget=40)) as straight:
        session.watch(make_frames(6, seed=1))
        fork = session.fork()
        fork.watch(make_frames(3, seed=2, start=6))
        session.watch(make_frames(3, seed=3, start=6))
        straight.watch(make_frames(6, seed=1))
        straight.watch(make_frames(3, seed=3, start=6))
        for one in (session, fork):
            one.check_invariants()
        assert_same_bits(memory_bits(session.stream), memory_bits(straight.stream))
        assert not torch.equal(fork.memory.layers[0].values, session.memory.layers[0].values)


def test_tokens_arrive_as_they_are_decoded(session: Session) -> None:
    session.watch(make_frames(2))
    stream = session.ask("Which colour?", max_new_tokens=6)
    events = list(stream)
    answer = stream.result()
    assert [event.token_id for event in events] == list(answer.token_ids)[: len(events)]
    assert "".join(event.text for event in events).strip() == answer.text
    times = [event.seconds_since_ask for event in events]
    assert times == sorted(times)
    assert answer.ttft_seconds == times[0] < answer.total_seconds


def test_a_dropped_answer_cancels_itself(session: Session) -> None:
    session.watch(make_frames(2))
    answer = session.ask("Which colour?", max_new_tokens=400)
    next(answer)
    worker = session._engine._worker
    assert worker._answering
    del answer
    gc.collect()
    deadline = time.monotonic() + 10
    while worker._answering and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not worker._answering


def test_sampling_repeats_with_its_seed(session: Session) -> None:
    session.watch(make_frames(3))
    drawn = [
        session.ask(Query("Which colour?", temperature=1.5, top_p=0.9, seed=seed, max_new_tokens=8)).result().token_ids
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_only_remembered_questions_become_history(session: Session) -> None:
    session.watch(make_frames(2))
    session.ask("first?", max_new_tokens=2).result()
    assert session.stream.history == ()
    answer = session.ask("second?", remember=True, max_new_tokens=2).result()
    assert session.stream.history == (Turn("second?", answer.text),)


def test_recent_frames_answers_like_keep_all_on_those_frames_alone(engine: Engine) -> None:
    frames = make_frames(9, seed=5)
    with engine.open(RecentFrames(frames=3)) as recent, engine.open(KeepAll()) as fresh:
        recent.watch(frames)
        fresh.watch(frames[-3:])
        mine = recent.ask("Which colour?", max_new_tokens=10).result()
        assert mine.token_ids == fresh.ask("Which colour?", max_new_tokens=10).result().token_ids
        assert mine.held_tokens == (27,) * 12
        assert recent.stats.tokens_seen == 0


def test_positions_stay_below_the_limit_and_the_stream_goes_on(engine: Engine) -> None:
    """512 positions, 9 a frame: 200 frames need several compactions, each before the chunk is encoded."""
    with engine.open(SlidingWindow(budget=45)) as session:
        largest = 0
        for start in range(0, 200, 4):
            session.watch(make_frames(4, start=start))
            largest = max(largest, session.memory.next_position)
        session.check_invariants()
        assert largest <= 512 - 64
        assert session.ask("Which colour?", max_new_tokens=4).result().frames_seen == 200


def test_keep_all_says_when_its_positions_are_used_up(engine: Engine) -> None:
    with engine.open(KeepAll()) as session:
        with pytest.raises(LimitError, match="smaller budget"):
            session.watch(make_frames(60))
        session.check_invariants()
        assert session.ask("Which colour?", max_new_tokens=4).result().frames_seen > 40


def test_bad_calls_are_refused_in_one_line(engine: Engine, session: Session) -> None:
    session.watch(make_frames(2))
    with pytest.raises(UsageError, match="times must not fall"):
        session.watch(Frame(0.5, make_frames(1)[0].image_YXC))
    with pytest.raises(UsageError, match="question is empty"):
        session.ask("  ")
    with pytest.raises(UsageError, match="at least 1"):
        session.ask("x", max_new_tokens=0)
    with pytest.raises(ConfigError, match="at least 1 frame"):
        engine.open(KeepAll(), chunk=0)
    with pytest.raises(ConfigError, match="two budgets"):
        engine.open(SlidingWindow(budget=3), budget=5)
    with pytest.raises(PolicyError):
        engine.open("slidng-window")
    assert session.stats.frames_seen == 2


def test_closed_things_say_so(llava_folder: Path) -> None:
    engine = Engine(load_adapter(str(llava_folder)))
    session = engine.open(KeepAll())
    other = engine.open(KeepAll())
    session.watch(make_frames(1))
    answer = session.ask("Which colour?", max_new_tokens=400)
    session.close()
    with pytest.raises(SessionClosed):
        answer.result()
    with pytest.raises(SessionClosed, match="session is closed"):
        session.watch(make_frames(1))
    engine.close()
    with pytest.raises(SessionClosed, match="engine is closed"):
        other.watch(make_frames(1))
