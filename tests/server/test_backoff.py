"""Waiting longer and longer."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.server.pull.backoff import Backoff


@given(seed=st.integers(0, 1000))
def test_waits_double_up_to_half_a_minute_each_a_fifth_more_or_less(seed: int) -> None:
    backoff = Backoff(random.Random(seed))
    for expected in (1, 2, 4, 8, 16, 30, 30, 30):
        assert 0.8 * expected <= backoff.next_seconds() <= 1.2 * expected


def test_not_everybody_comes_back_at_the_same_moment() -> None:
    assert len({Backoff().next_seconds() for _ in range(10)}) > 1


def test_it_begins_anew_when_it_has_worked() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() <= 1.2
