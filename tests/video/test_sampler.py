"""Sampling by time against a slow oracle, and its laws one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.video import sample_by_time

from ..oracles.sampler_oracle import nearest_to_ticks


@dataclass(frozen=True)
class Moment:
    """The least that can be sampled."""

    pts_seconds: float
    index: int = 0


def moments(times_seconds: list[Fraction]) -> list[Moment]:
    return [Moment(float(seconds), index) for index, seconds in enumerate(times_seconds)]


def sampled_times(times_seconds: list[float], fps: float | None) -> list[float]:
    return [frame.pts_seconds for frame in sample_by_time(map(Moment, times_seconds), fps)]


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(1, 60), max_size=30),
    gap_unit=st.sampled_from([Fraction(1, 90), Fraction(1, 24), Fraction(1001, 30000), Fraction(1, 7)]),
    start=st.integers(0, 30),
    fps=st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3), Fraction(10), Fraction(2997, 100)]),
)
def test_matches_the_definition(gaps: list[int], gap_unit: Fraction, start: int, fps: Fraction) -> None:
    times_seconds = [start * gap_unit]
    for gap in gaps:
        times_seconds.append(times_seconds[-1] + gap * gap_unit / 4)
    got = [frame.index for frame in sample_by_time(moments(times_seconds), float(fps))]
    assert got == nearest_to_ticks(times_seconds, fps)


@pytest.mark.parametrize("source_fps", [Fraction(24), Fraction(25), Fraction(30), Fraction(50)])
@pytest.mark.parametrize("fps", [1, 2, 0.5])
def test_frames_on_ticks_are_exactly_those(source_fps: Fraction, fps: float) -> None:
    times_seconds = [float(index / source_fps) for index in range(int(source_fps * 12))]
    if (source_fps / Fraction(fps)).denominator == 1:
        assert sampled_times(times_seconds, fps) == [tick / fps for tick in range(round(12 * fps))]
    else:
        assert len(sampled_times(times_seconds, fps)) == round(12 * fps)


def test_an_hour_of_ntsc_does_not_drift() -> None:
    interval_seconds = 1001 / 30000
    got = sampled_times([index * interval_seconds for index in range(107_893)], 1)
    assert len(got) == 3600 + 1
    assert max(abs(seconds - tick) for tick, seconds in enumerate(got)) <= interval_seconds / 2


@pytest.mark.parametrize("fps", [None, 0, 1000.0])
def test_every_frame_is_kept_without_a_rate_or_above_the_source_rate(fps: float | None) -> None:
    times_seconds = [0.0, 0.04, 0.09, 5.0]
    assert sampled_times(times_seconds, fps) == times_seconds


def test_a_picture_shown_for_ten_seconds_is_one_frame() -> None:
    assert sampled_times([0.0, 10.0, 10.04], 1) == [0.0, 10.0]


def test_a_jump_of_years_costs_nothing() -> None:
    assert sampled_times([0.0, 1e9, 1e9 + 1], 30) == [0.0, 1e9, 1e9 + 1]


def test_a_frame_on_a_tick_is_given_without_look_ahead() -> None:
    read: list[float] = []
    frames = sample_by_time(recorded([0.0, 0.5, 1.0, 1.5], read), 1)
    assert next(frames).pts_seconds == 0.0
    assert read == [0.0]
    assert next(frames).pts_seconds == 1.0
    assert read == [0.0, 0.5, 1.0]


def test_a_frame_before_a_tick_needs_only_the_next_one() -> None:
    read: list[float] = []
    frames = sample_by_time(recorded([0.0, 0.9, 1.2, 1.5], read), 1)
    assert [next(frames).pts_seconds, next(frames).pts_seconds] == [0.0, 0.9]
    assert read == [0.0, 0.9, 1.2]


def recorded(times_seconds: list[float], read: list[float]) -> Iterator[Moment]:
    for seconds in times_seconds:
        read.append(seconds)
        yield Moment(seconds)


@pytest.mark.parametrize(
    ("times_seconds", "expected"),
    [
        ([], []),
        ([0.0], [0.0]),
        ([3.4], [3.4]),
        ([0.0, 0.4], [0.0]),
        ([0.0, 0.4, 0.8], [0.0, 0.8]),
        ([0.0, 0.5, 1.0], [0.0, 1.0]),
    ],
)
def test_the_last_frame_stays_as_long_as_the_one_before(times_seconds: list[float], expected: list[float]) -> None:
    assert sampled_times(times_seconds, 1) == expected


def test_of_two_frames_equally_near_the_earlier_one_is_taken() -> None:
    assert sampled_times([0.0, 0.75, 1.25, 2.0], 1) == [0.0, 0.75, 2.0]


@pytest.mark.parametrize("fps", [-1.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused_before_any_frame_is_read(fps: float) -> None:
    with pytest.raises(ConfigError, match="fps"):
        sample_by_time([], fps)
