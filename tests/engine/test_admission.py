"""Who is let in: nothing is promised beyond the limit, and nothing is allocated beyond what was promised."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_stream import Engine, Frame, KeepAll, Session, SlidingWindow
from hermes_stream.engine import available
from hermes_stream.engine.admission import Ledger
from hermes_stream.engine.footprint import footprint, interval_rows
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import ConfigError, LimitError
from hermes_stream.memory.backends import flash
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.policies.spec import parse_memory
from tests.engine.direct import assert_same_bits, make_task, memory_bits, open_direct, watch_direct
from tests.engine.static import make_arena, open_in_arena
from tests.oracles.allocation_oracle import allocated_bytes
from tests.oracles.packed_attention_oracle import packed_attention_by_segment
from tests.tiny import make_frames, save_checkpoint

MEMORY = "sliding-window(budget=27)"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = tmp_path_factory.mktemp("checkpoints") / "random-llava"
    return load_adapter(str(save_checkpoint("llava_onevision", folder, num_hidden_layers=2)))


@pytest.fixture(scope="module")
def tapped(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A family with DeepStack, whose features take more than their embeddings, and two frames a grid."""
    folder = tmp_path_factory.mktemp("checkpoints") / "random-qwen"
    return load_adapter(str(save_checkpoint("qwen3_vl", folder, num_hidden_layers=2)))


def really_allocated(stream: Stream) -> int:
    kept = stream.state, stream.front_states, stream.encoded, stream.texts, stream.seen
    return allocated_bytes(stream.memory.current, *kept)


@pytest.mark.parametrize("name", [*POLICIES, "sliding-window(memory_bits=8)"])
def test_no_stream_takes_more_than_was_counted(name: str, adapter: Adapter, tapped: Adapter) -> None:
    """Counted before the frames came; what grows is counted again with each piece."""
    for model in (adapter, tapped):
        policy = parse_memory(name, bytes_per_token=1).with_budget(2 * model.facts.tokens_per_frame)
        stream = open_direct(model, policy, chunk_frames=4)
        ledger = Ledger(model, 100, memory_limit="1GiB")
        ledger.admit(stream)
        before = ledger.used_bytes
        for start in range(0, 20, 4):
            watch_direct(stream, make_frames(4, start=start), 2)
            assert really_allocated(stream) <= ledger._streams[stream].held_bytes
        if policy.is_bounded and policy.archive is None:
            states = 2 * stream.state_bytes
            assert ledger.used_bytes <= before + states, "what has a bound was not counted at its bound"


@pytest.fixture(scope="module")
def sizes(adapter: Adapter) -> tuple[int, int]:
    """Bytes of an engine with one session, which takes what all share with it, and of each one more."""
    with Engine(adapter, memory_limit="1GiB") as engine:
        first, used = engine.open(MEMORY), engine.stats.used_bytes
        with first.fork():
            return used, engine.stats.used_bytes - used


@pytest.fixture
def engine_for(adapter: Adapter, sizes: tuple[int, int]) -> Callable[[float], Engine]:
    """An engine with room for so many sessions."""
    return lambda n_sessions: Engine(adapter, memory_limit=int(sizes[0] + (n_sessions - 1) * sizes[1]))


def watch_until_refused(session: Session, frames: Sequence[Frame], n_at_once: int) -> tuple[int, str]:
    """How many frames went in, and what was said then."""
    for start in range(0, len(frames), n_at_once):
        try:
            session.watch(frames[start : start + n_at_once])
        except LimitError as error:
            return start, str(error)
    raise AssertionError("nothing was refused")


def test_the_stream_that_does_not_fit_is_refused_in_one_line(engine_for: Callable[[float], Engine]) -> None:
    with engine_for(2.5) as engine:
        sessions = [engine.open(MEMORY) for _ in range(2)]
        with pytest.raises(
            LimitError, match=r"needs [\d.]+ KiB, but [\d.]+ KiB of .* 2 sessions; give a smaller budget"
        ):
            engine.open(MEMORY)
        with pytest.raises(LimitError):
            sessions[0].fork()
        with pytest.raises(LimitError):
            engine.restore(sessions[0].snapshot())
        assert engine.stats.n_sessions == 2
        sessions[0].close()
        assert engine.open(MEMORY).fork  # there is room again
        assert engine.stats.used_bytes <= (engine.stats.limit_bytes or 0)


def test_what_would_not_fit_alone_is_a_wrong_setting(adapter: Adapter, engine_for: Callable[[float], Engine]) -> None:
    with engine_for(2) as engine, pytest.raises(ConfigError, match="a budget of 300 tokens a layer"):
        engine.open("sliding-window(budget=300)")
    with pytest.raises(ConfigError, match=r"the memory limit is 10\.0 KiB, but the weights of"):
        Engine(adapter, memory_limit="10KiB")
    with pytest.raises(ConfigError, match="expected bytes such as 12GiB"):
        Engine(adapter, memory_limit="12")


def test_a_session_that_is_forgotten_gives_back(engine_for: Callable[[float], Engine]) -> None:
    with engine_for(1) as engine:
        for _ in range(3):
            session = engine.open(MEMORY)
            session.watch(make_frames(2))
            del session
        # The engine's thread may still be about to let go of the last one.
        deadline = time.monotonic() + 60
        while engine.stats.n_sessions and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.stats.n_sessions == 0


def test_a_memory_without_bound_grows_to_the_limit_and_loses_nothing(engine_for: Callable[[float], Engine]) -> None:
    with engine_for(4) as engine:
        session, other = engine.open(KeepAll()), engine.open(MEMORY)
        frames = make_frames(50)
        n_in, said = watch_until_refused(session, frames, 1)
        assert re.search(r"keep-all would grow to .* what was watched before is kept", said)
        assert 0 < n_in == session.stats.frames_seen
        before = memory_bits(session.stream)
        with pytest.raises(LimitError):
            session.watch(frames[n_in])
        assert_same_bits(before, memory_bits(session.stream))
        session.check_invariants()
        assert session.ask("What is left?", max_new_tokens=2).result().frames_seen == n_in
        other.watch(frames)
        other.close()
        session.watch(frames[n_in])
        assert session.stats.frames_seen == n_in + 1


def test_an_archive_without_bound_is_stopped_before_its_interval_is_written(
    engine_for: Callable[[float], Engine],
) -> None:
    with engine_for(2.2) as engine, engine.open("rekv(budget=27)", chunk=2) as session:
        n_in, said = watch_until_refused(session, make_frames(60), 2)
        assert "rekv would grow" in said
        assert 4 <= n_in == session.stats.frames_seen
        session.check_invariants()
        assert session.ask("What is left?", max_new_tokens=2).result().token_ids


def test_answers_are_counted_while_they_last(adapter: Adapter) -> None:
    """One always finds room; several of one version share its slabs, but not with those of another."""
    with Engine(adapter, memory_limit="1GiB") as engine, engine.open(MEMORY) as session:
        ledger, stream = engine._ledger, session.stream
        used, tasks = ledger.used_bytes, []
        ledger.limit_bytes = used + 1000
        for start in (0, 4):
            session.watch(make_frames(4, start=start))
            for _ in range(3):
                task, _ = make_task(stream, "What is left?")
                if not start:
                    ledger.pin(stream, task)
                tasks.append(task)
        with pytest.raises(LimitError, match=r"an answer needs .* 3 others are being given; ask when"):
            ledger.pin(stream, tasks[-1])
        del tasks[:3], task
        ledger.pin(stream, tasks[-1])
        tasks.clear()
        assert ledger.used_bytes == used


def test_an_arena_with_room_to_grow_is_counted(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)
    arena, ledger = make_arena(adapter), Ledger(adapter, 100, memory_limit="1GiB")
    fixed, streams = ledger.used_bytes, []
    for n_frames in (5, 12, 3, 9):
        stream = open_in_arena(adapter, SlidingWindow(budget=27), arena)
        streams.append(stream)
        ledger.admit(stream)
        watch_direct(stream, make_frames(n_frames), 4)
        assert arena.allocated_bytes <= ledger.used_bytes - fixed


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["open", "keep", "fork", "close", "watch", "ask"]), st.integers(0, 7)),
    min_size=5,
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, room=st.integers(1, 4))
def test_no_sequence_of_requests_is_promised_more_than_there_is(
    engine_for: Callable[[float], Engine], actions: list[tuple[str, int]], room: int
) -> None:
    with engine_for(room) as engine:
        sessions: list[Session] = []
        for action, number in actions:
            before = engine.stats.used_bytes
            try:
                _act(engine, sessions, action, number)
            except LimitError:
                assert action == "watch" or engine.stats.used_bytes == before
            except ConfigError:
                assert not sessions
            fixed = engine._ledger._weight_bytes + engine._ledger._forward_bytes
            held = allocated_bytes(*((s.memory, s.stream.state) for s in sessions))
            assert fixed + held <= engine.stats.used_bytes <= (engine.stats.limit_bytes or 0)
            assert engine.stats.n_sessions == len(sessions)


def _act(engine: Engine, sessions: list[Session], action: str, number: int) -> None:
    if action == "open":
        sessions.append(engine.open(MEMORY))
    elif action == "keep":
        sessions.append(engine.open(KeepAll()))
    elif sessions:
        session = sessions[number % len(sessions)]
        if action == "fork":
            sessions.append(session.fork())
        elif action == "close":
            session.close()
            sessions.remove(session)
        elif action == "watch":
            session.watch(make_frames(1 + number, start=session.memory.frames_seen))
        else:
            session.ask("What is left?", max_new_tokens=2).result()


def test_a_stream_is_counted_at_its_budget_before_its_first_frame(adapter: Adapter) -> None:
    """By hand: prefix, budget and interval make slabs of at most twice as many rows, in steps of 64."""
    stream = open_direct(adapter, SlidingWindow(budget=27), chunk_frames=4)
    facts = adapter.facts
    n_rows = facts.prefix_tokens + 27 + 4 * 9
    assert 64 < 2 * n_rows <= 192
    slab_bytes = 2 * 192 * 3 * facts.n_kv_heads * facts.head_dim * 4
    assert footprint(stream, interval_rows(stream)).slab_bytes == slab_bytes


def test_the_default_limit_is_a_share_of_what_is_free(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "free_host_bytes", lambda: 1000)
    assert available.available_bytes(adapter.facts) == 800
    monkeypatch.undo()
    free = available.free_host_bytes()
    assert free is not None
    assert 2**20 < free < 2**50
