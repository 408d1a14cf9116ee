"""Frames that are offered: never waited for, never queued without bound, dropped from the oldest, counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream import Engine, Session, SlidingWindow, UsageError
from hermes_stream.engine.live import LiveQueue
from hermes_stream.errors import ConfigError, SessionClosed
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.types import Frame
from tests.engine.direct import memory_bits
from tests.engine.held_up import PATIENCE_SECONDS, held_up
from tests.tiny import make_frames


def wait_until_idle(session: Session) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while session.stats.waiting_frames:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_same_memory(ours: Session, theirs: Session) -> None:
    """The same rows, which came in pieces of other sizes: float32, so that their numbers differ by rounding."""
    for a, b in zip(memory_bits(ours.stream), memory_bits(theirs.stream), strict=True):
        assert a.dtype.is_floating_point or torch.equal(a, b)
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_frames_that_are_offered_come_into_the_memory_as_if_they_were_watched(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=30)) as live, engine.open(SlidingWindow(budget=30)) as twin:
        for frame in make_frames(7):
            assert live.offer(frame) == 1
            wait_until_idle(live)
        twin.watch(make_frames(7))
        assert_same_memory(live, twin)
        assert (live.stats.frames_dropped, live.stats.lag_seconds) == (0, 0)


def test_an_engine_that_cannot_keep_up_drops_the_oldest_and_says_so(engine: Engine) -> None:
    with (
        engine.open(SlidingWindow(budget=30), max_waiting_frames=5) as session,
        engine.open(SlidingWindow(budget=30)) as twin,
    ):
        frames = make_frames(20)
        session.watch(frames[:2])
        with held_up(session):
            taken = [session.offer(frames[start : start + 3]) for start in range(2, 17, 3)]
            assert session.offer(frames[17:]) == 3
            stats = session.stats
        assert taken == [3] * 5
        assert (stats.frames_seen, stats.waiting_frames, stats.frames_dropped) == (2, 5, 13)
        assert stats.lag_seconds == 19 - 1
        wait_until_idle(session)
        stats = session.stats
        assert (stats.frames_seen, stats.time_seconds, stats.frames_dropped) == (7, 19, 13)
        assert stats.lag_seconds == 0
        twin.watch([*frames[:2], *frames[15:]])
        assert_same_memory(session, twin)


def test_frames_are_told_of_once_they_are_in_each_of_them_once(engine: Engine) -> None:
    """Offered and watched ones; not those that were dropped, and nobody of a fork's."""
    told: list[tuple[float, int]] = []

    def tell(frames: Sequence[Frame]) -> None:
        told.extend((frame.pts_seconds, session.stats.frames_seen) for frame in frames)

    with engine.open(SlidingWindow(budget=30), chunk=4, max_waiting_frames=5) as session:
        session.on_arrival(tell)
        session.watch(make_frames(6))
        with held_up(session):
            session.offer(make_frames(8, start=6))
        wait_until_idle(session)
        with session.fork() as fork:
            fork.watch(make_frames(1, start=14))
        session.on_arrival(None)
        session.watch(make_frames(1, start=14))
    assert [seconds for seconds, _ in told] == [*range(6), *range(9, 14)]
    assert all(n_seen > number for number, (_, n_seen) in enumerate(told))


def test_by_default_two_intervals_wait_and_a_fork_waits_alike(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=30), chunk=3) as session:
        assert session.max_waiting_frames == 6
        with held_up(session):
            assert session.offer(make_frames(9)) == 6
            assert session.stats.frames_dropped == 3
    with engine.open(SlidingWindow(budget=30), max_waiting_frames=2) as session, session.fork() as fork:
        assert fork.max_waiting_frames == 2
    with pytest.raises(ConfigError, match="max_waiting_frames is 0"):
        engine.open(SlidingWindow(budget=30), max_waiting_frames=0)


def test_watching_goes_on_behind_what_was_offered(engine: Engine) -> None:
    with engine.open(SlidingWindow(budget=30)) as session:
        frames = make_frames(6)
        with held_up(session):
            session.offer(frames[:3])
            watcher = threading.Thread(target=session.watch, args=(frames[3:],))
            watcher.start()
        watcher.join(PATIENCE_SECONDS)
        assert session.stats.frames_seen == 6


class Fails(SlidingWindow):
    """Raises what it is given, then works."""

    name: ClassVar[str] = "fails"
    failures: list[Any]

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        if self.failures:
            raise self.failures.pop()
        return super().after_chunk(view, state)


def test_what_went_wrong_is_told_once_to_the_next_one_who_offers(engine: Engine) -> None:
    with engine.open(Fails(budget=30, failures=[ValueError("bad")]), chunk=2) as session:
        session.offer(make_frames(2))
        wait_until_idle(session)
        with pytest.raises(ValueError, match="bad"):
            session.offer(make_frames(2, start=2))
        assert (session.stats.frames_seen, session.stats.frames_dropped) == (0, 2)
        assert session.offer(make_frames(2, start=2)) == 2
        wait_until_idle(session)
        assert session.stats.frames_seen == 2
        with pytest.raises(UsageError, match=r"offered after one at 3\.000 s"):
            session.offer(make_frames(1))
    with pytest.raises(SessionClosed):
        session.offer(make_frames(2, start=9))


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["offer", "take", "arrive", "fail"]), st.integers(0, 6)), min_size=1, max_size=40
)


@given(operations=OPERATIONS, capacity=st.integers(1, 5))
def test_no_frame_is_lost_uncounted(operations: list[tuple[str, int]], capacity: int) -> None:
    """Against a list: every frame is taken, waits, or was dropped as the oldest of too many."""
    live, expected = LiveQueue(capacity), []
    n_offered = n_arrived = n_on_their_way = n_dropped = 0
    for operation, n in operations:
        if operation == "offer":
            frames = make_frames(n, start=n_offered, height=4, width=4)
            live.offer(frames)
            n_offered += n
            expected += [frame.pts_seconds for frame in frames]
            n_dropped += max(len(expected) - capacity, 0)
            expected = expected[-capacity:]
        elif operation == "take":
            assert [frame.pts_seconds for frame in live.take(n)] == expected[:n]
            n_on_their_way += min(n, len(expected))
            expected = expected[n:]
        elif operation == "arrive":
            live.arrive(min(n, n_on_their_way))
            n_arrived += min(n, n_on_their_way)
            n_on_their_way -= min(n, n_on_their_way)
        else:
            live.fail(ValueError("x"))
            n_dropped, n_on_their_way = n_dropped + n_on_their_way, 0
            with pytest.raises(ValueError, match="x"):
                live.offer([])
        assert live.n_waiting == len(expected) + n_on_their_way
        assert live.n_dropped == n_dropped
        assert n_offered == n_arrived + live.n_waiting + live.n_dropped
