"""Times of a client's frames, and which frames are looked at."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.errors import UsageError
from hermes_stream.server.push.push_clock import PushClock

from ..oracles.tick_oracle import first_at_or_after_ticks

# Milliseconds, so that the oracle's exact numbers and the clock's floats are about the same moments.
steps = st.lists(st.integers(0, 3000), min_size=1, max_size=60)
rates = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4), Fraction(30000, 1001), Fraction(30)])


@given(steps=steps, fps=rates, start=st.integers(0, 100_000))
def test_chosen_are_the_first_frames_at_or_after_each_tick(steps: list[int], fps: Fraction, start: int) -> None:
    times = [Fraction(start + sum(steps[:index]), 1000) for index in range(len(steps))]
    clock = PushClock(float(fps), None)
    placed = [clock.place(float(time), 0.0) for time in times]
    assert [index for index, each in enumerate(placed) if each is not None] == first_at_or_after_ticks(times, fps)
    assert all(each is None or each.seconds == float(time) for each, time in zip(placed, times, strict=True))


def test_a_client_that_sends_thirty_frames_a_second_has_one_a_second_looked_at() -> None:
    clock = PushClock(1.0, None)
    chosen = [placed.seconds for i in range(300) if (placed := clock.place(i / 30, 0.0))]
    assert chosen == [float(second) for second in range(10)]


def test_ticks_go_on_from_where_the_session_stands() -> None:
    clock = PushClock(1.0, 7.2)
    assert clock.place(7.9, 0.0) is None
    assert clock.place(8.1, 0.0) is not None


def test_a_frame_that_was_none_leaves_its_tick_to_the_next() -> None:
    clock = PushClock(1.0, None)
    garbage = clock.place(0.0, 0.0)
    assert garbage is not None
    clock.give_back(garbage)
    assert clock.place(0.1, 0.0) is not None
    assert clock.place(0.2, 0.0) is None


def test_a_frame_that_was_none_long_ago_gives_nothing_back() -> None:
    clock = PushClock(1.0, None)
    garbage = clock.place(0.0, 0.0)
    assert garbage is not None
    assert clock.place(1.0, 0.0) is not None
    clock.give_back(garbage)
    assert clock.place(1.5, 0.0) is None


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf, -0.5, 1.7e9, 1e300])
def test_absurd_times_are_refused_and_change_nothing(time: float) -> None:
    clock = PushClock(1.0, None)
    clock.place(3.0, 0.0)
    with pytest.raises(UsageError, match="expected seconds since the stream began"):
        clock.place(time, 0.0)
    assert clock.place(4.0, 0.0) is not None


def test_falling_times_are_refused_and_change_nothing() -> None:
    clock = PushClock(1.0, None)
    clock.place(3.0, 0.0)
    with pytest.raises(UsageError, match=r"stands at 3\.000 s; times must not fall"):
        clock.place(2.0, 0.0)
    assert clock.place(4.0, 0.0) is not None


def test_a_client_that_begins_before_where_the_session_stands_is_told_what_to_do() -> None:
    with pytest.raises(UsageError, match='"resume": true'):
        PushClock(1.0, 20.0).place(0.0, 25.0)


def test_one_time_that_jumps_by_days_does_not_take_all_later_ones_with_it() -> None:
    clock = PushClock(1.0, None)
    clock.place(3.0, 0.0)
    with pytest.raises(UsageError, match="more than a day"):
        clock.place(2e6, 3.0)
    assert clock.place(4.0, 4.0) is not None


def test_a_client_that_was_away_for_days_may_go_on() -> None:
    assert PushClock(1.0, 10.0).place(2e5, now_seconds=2e5) is not None


def test_resuming_begins_now_and_keeps_distances() -> None:
    clock = PushClock(1.0, 10.0)
    clock.resume()
    placed = [clock.place(1.7e9 + second, 40.0) for second in range(3)]
    assert [each and each.seconds for each in placed] == [40.0, 41.0, 42.0]


def test_resuming_never_stands_on_the_newest_frame() -> None:
    """A client may have pushed faster than its video's pace: then now is where the session stands."""
    clock = PushClock(2.0, 64.0)
    clock.resume()
    placed = clock.place(0.0, 64.0)
    assert placed is not None
    assert placed.seconds == 64.5


def test_without_times_frames_count_when_they_come() -> None:
    clock = PushClock(1.0, None)
    chosen = [placed.seconds for i in range(60) if (placed := clock.place(None, i / 15))]
    assert chosen == [0.0, 1.0, 2.0, 3.0]


def test_without_times_a_patient_client_may_send_all_at_once() -> None:
    clock = PushClock(0.5, None, n_ahead=64)
    placed = [clock.place(None, 0.0) for _ in range(64)]
    assert [each and each.seconds for each in placed] == [2.0 * i for i in range(64)]


@given(frames_per_second=st.integers(5, 60), seconds=st.integers(1, 20), n_ahead=st.integers(0, 8))
def test_without_times_nobody_gets_far_ahead_of_the_clock(frames_per_second: int, seconds: int, n_ahead: int) -> None:
    clock = PushClock(1.0, None, n_ahead=n_ahead)
    arrivals = [i / frames_per_second for i in range(frames_per_second * seconds)]
    placed = [(arrival, clock.place(None, arrival)) for arrival in arrivals]
    chosen = [(arrival, each.seconds) for arrival, each in placed if each is not None]
    assert len(chosen) <= seconds + n_ahead
    assert all(arrival - 1e-9 <= at <= arrival + n_ahead + 1e-9 for arrival, at in chosen)
