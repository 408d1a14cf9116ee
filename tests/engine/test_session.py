"""What a session promises: asking changes nothing, forks go their own way, cancelled answers end, times never fall."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hermes_stream import Engine, Frame, Hermes, KeepAll, Query, RecentFrames, Session, SlidingWindow, UsageError
from hermes_stream.engine.decode import Sampler
from hermes_stream.errors import ConfigError, LimitError, PlanError, PolicyError, SessionClosed
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.uniform_frames import UniformFrames
from hermes_stream.types import Turn
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


class FailsOnce(SlidingWindow):
    """Raises in its first interval, whatever it is told to raise."""

    name: ClassVar[str] = "fails-once"
    failures: list[Any]

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        if self.failures:
            raise self.failures.pop()
        return super().after_chunk(view, state)


@pytest.mark.parametrize("failure", [ValueError("bad"), PlanError("bad"), SystemExit(3)])
def test_a_policy_that_fails_leaves_no_trace_and_the_engine_lives_on(engine: Engine, failure: BaseException) -> None:
    with (
        engine.open(FailsOnce(budget=30, failures=[failure])) as session,
        engine.open(SlidingWindow(budget=30)) as twin,
    ):
        session.watch(make_frames(3))
        before, version = memory_bits(session.stream), session.memory
        with pytest.raises(type(failure)):
            session.watch(make_frames(5, start=3))
        assert session.memory is version
        assert_same_bits(before, memory_bits(session.stream))
        session.watch(make_frames(5, start=3))
        twin.watch(make_frames(3))
        twin.watch(make_frames(5, start=3))
        assert_same_bits(memory_bits(session.stream), memory_bits(twin.stream))


def test_an_endless_iterable_goes_in_interval_by_interval(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=30)) as session:
        seen: list[int] = []

        def frames() -> Iterator[Frame]:
            for frame in make_frames(12):
                seen.append(session.stats.frames_seen)
                yield frame

        session.watch(frames())
        # One interval ahead of what is in, and no further.
        assert all(index - index % 4 - 4 <= n <= index for index, n in enumerate(seen))
        assert seen[8] >= 4
        assert session.stats.frames_seen == 12


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"\[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        ([[1]], "list"),
    ],
)
def test_pictures_that_no_model_understands_are_refused(image: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Frame(0.0, image)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_times_must_be_times(seconds: float) -> None:
    with pytest.raises(UsageError, match="expected seconds"):
        Frame(seconds, np.zeros((4, 4, 3), np.uint8))


def test_flipped_views_are_read_as_they_look(engine: Engine) -> None:
    """OpenCV users turn BGR into RGB with a negative stride."""
    image = make_frames(1)[0].image_YXC
    answers = []
    for picture in (image[:, ::-1, ::-1], np.ascontiguousarray(image[:, ::-1, ::-1])):
        with engine.open(KeepAll()) as session:
            session.watch(Frame(0.0, picture))
            answers.append(memory_bits(session.stream))
    assert_same_bits(*answers)


@pytest.mark.parametrize(
    "settings",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 2}, {"top_k": -1},
     {"repetition_penalty": 0}, {"max_new_tokens": 0}],
)  # fmt: skip
def test_settings_that_no_sampler_can_follow_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        Query("x", **settings)


def test_an_answer_that_was_broken_off_does_not_look_finished(llava_folder: Path) -> None:
    engine = Engine(load_adapter(str(llava_folder)))
    session = engine.open(KeepAll())
    session.watch(make_frames(1))
    answer = session.ask("Which colour?", max_new_tokens=400)
    next(answer)
    engine.close()
    with pytest.raises(SessionClosed):
        for _ in answer:
            pass


def test_two_readers_share_one_answer(session: Session) -> None:
    session.watch(make_frames(2))
    answer = session.ask("Which colour?", max_new_tokens=30)
    got: list[list[int]] = [[], []]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(event.token_id for event in answer)) for mine in got
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(got[0] + got[1]) == sorted(answer.result().token_ids)


def test_budgets_that_could_only_fail_later_are_refused_at_once(engine: Engine) -> None:
    for policy, chunk in ((Hermes(budget=100_000), 4), (SlidingWindow(budget=30), 60), (RecentFrames(budget=900), 4)):
        with pytest.raises(ConfigError, match="positions, but"):
            engine.open(policy, chunk=chunk)


def test_bytes_buy_what_a_policy_holds(engine: Engine) -> None:
    """64 KiB: 14 tokens of three rows, 21 of two, 256 embeddings."""
    held = {"raw": ("sliding-window", True), "lean": ("sliding-window", False), "features": ("recent-frames", True)}
    budgets = {
        name: engine.open(memory, budget="64KiB", keep_raw=keep_raw).policy.budget
        for name, (memory, keep_raw) in held.items()
    }
    assert budgets == {"raw": 65536 // 4608, "lean": 65536 // 3072, "features": 65536 // 256}


def test_a_fork_in_mid_interval_compresses_when_its_parent_would(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=18)) as session:
        session.watch(make_frames(6))
        fork = session.fork()
        for one in (session, fork):
            one.watch(make_frames(2, start=6))
        assert session.memory.held_tokens == fork.memory.held_tokens == (18,) * 12


@pytest.mark.parametrize("temperature", [1e-5, 1e-40, 2.4e-79, 5e-324])
def test_however_cold_it_is_a_token_is_drawn(temperature: float) -> None:
    """What is divided by such a number is none."""
    sampler = Sampler(Query("x", temperature=temperature, repetition_penalty=1.5), torch.device("cpu"))
    assert [int(sampler.choose(torch.tensor([2.0, 90.0, -80.0]))) for _ in range(3)] == [1, 1, 1]


def test_sampling_follows_its_settings(engine: Engine) -> None:
    """Against probabilities written out: top-p cuts the tail, the repetition penalty sees the answer's tokens only."""
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0])
    draws = Sampler(Query("x", temperature=1.0, top_p=0.8, seed=0), torch.device("cpu"))
    assert {int(draws.choose(logits)) for _ in range(60)} == {0, 1}
    # 2 / 5 falls below 1, then 1 / 5 below 0.5.
    penalised = Sampler(Query("x", repetition_penalty=5.0), torch.device("cpu"))
    assert [int(penalised.choose(logits)) for _ in range(3)] == [0, 1, 2]
    few = Sampler(Query("x", temperature=5.0, top_k=3, seed=1), torch.device("cpu"))
    assert {int(few.choose(logits)) for _ in range(80)} == {0, 1, 2}


def test_an_answer_ends_where_the_models_positions_do(engine: Engine) -> None:
    with engine.open(KeepAll()) as session:
        session.watch(make_frames(46))
        answer = session.ask("left?", max_new_tokens=1000).result()
        n_prefix_and_frames = session.memory.next_position
        assert len(answer.token_ids) < 512 - n_prefix_and_frames
        assert session.memory.next_position == n_prefix_and_frames


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
    assert session.stream.history == (Turn("second?", answer.text, answer.time_seconds),)


def test_a_turn_that_was_had_elsewhere_guides_as_one_that_was_remembered(engine: Engine) -> None:
    told, asked = engine.open("hermes", budget=27), engine.open("hermes", budget=27)
    for session in (told, asked):
        session.watch(make_frames(4))
    answer = asked.ask("Which colour?", remember=True, max_new_tokens=3).result()
    told.remember(Turn("Which colour?", answer.text, answer.time_seconds))
    assert told.stream.history == asked.stream.history
    for session in (told, asked):
        session.watch(make_frames(8, start=4))
    assert_same_bits(memory_bits(told.stream), memory_bits(asked.stream))


@pytest.mark.parametrize(
    ("frames", "seen"), [(3, (0, 4, 8)), (4, (0, 2, 5, 8)), (1, (8,)), (9, range(9)), (64, range(9))]
)
def test_uniform_frames_answers_like_keep_all_on_frames_at_even_distances(
    engine: Engine, frames: int, seen: Sequence[int]
) -> None:
    shown = make_frames(9, seed=5)
    with engine.open(UniformFrames(frames=frames)) as uniform, engine.open(KeepAll()) as fresh:
        uniform.watch(shown)
        fresh.watch([shown[index] for index in seen])
        mine = uniform.ask("Which colour?", max_new_tokens=10).result()
        assert mine.token_ids == fresh.ask("Which colour?", max_new_tokens=10).result().token_ids


def test_no_uniform_frames_answer_from_the_question_alone(engine: Engine) -> None:
    answers = set()
    for n, seed in ((9, 5), (9, 6), (2, 5), (13, 7)):
        with engine.open(UniformFrames(frames=0)) as session:
            session.watch(make_frames(n, seed=seed))
            answers.add(session.ask("Which colour?", max_new_tokens=10).result().token_ids)
    assert len(answers) == 1


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
    with pytest.raises(UsageError, match="question's text"):
        session.ask("  ")
    with pytest.raises(UsageError, match="max_new_tokens is 0; expected at least 1"):
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
