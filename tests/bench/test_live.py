"""What comes to live streams, and the search for how many of them keep up."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.bench.live import Load, arrivals, largest
from hermes_stream.types import Query

QUERY = Query("What?")


@given(st.integers(1, 6), st.sampled_from([0.5, 1.0, 3.0]), st.floats(0.5, 20), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_frames_come_at_an_even_rate_and_everything_within_the_time(
    n: int, fps: float, seconds: float, seed: int
) -> None:
    load = Load(fps=fps, questions_per_minute=30, seconds=seconds, query=QUERY, seed=seed)
    frames, questions = arrivals(n, load)
    assert (frames, questions) == arrivals(n, load)
    assert questions
    assert all(0 <= moment <= seconds and 0 <= index < n for moment, index in frames + questions)
    for stream in range(n):
        times = [moment for moment, index in frames if index == stream]
        assert abs(len(times) - fps * seconds) <= 1
        assert all(later - earlier == pytest.approx(1 / fps) for earlier, later in pairwise(times))


def test_questions_come_at_their_rate_and_to_all_streams() -> None:
    load = Load(fps=1, questions_per_minute=12, seconds=600, query=QUERY)
    _, questions = arrivals(10, load)
    # 1,200 of them are expected, with a deviation of 35; 120 to each stream, with one of 11.
    assert abs(len(questions) - 1200) < 140
    assert all(abs(n - 120) < 45 for n in Counter(index for _, index in questions).values())


def test_a_time_too_short_for_any_question_still_has_one() -> None:
    load = Load(fps=1, questions_per_minute=0.001, seconds=1, query=QUERY)
    assert len(arrivals(3, load)[1]) == 1


@given(st.integers(0, 300), st.integers(1, 200))
@settings(max_examples=150, deadline=None)
def test_the_search_finds_the_border_to_a_sixteenth(border: int, most: int) -> None:
    tried: list[int] = []

    def keeps_up(n: int) -> bool:
        tried.append(n)
        return n <= border

    found = largest(keeps_up, most)
    best = min(border, most)
    assert found <= best < found + max(1, found // 16) + (found == 0)
    assert len(tried) == len(set(tried))
    assert all(1 <= n <= most for n in tried)
