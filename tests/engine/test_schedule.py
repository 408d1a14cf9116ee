"""The choice of the next forward: questions first, full forwards, and nobody waits for long."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.engine.schedule import Limits, Ready, choose, frame_room, share
from hermes_stream.errors import ConfigError
from tests.oracles.schedule_oracle import grids_that_go

rows = st.integers(1, 40)
grids = st.lists(st.lists(rows, max_size=6), max_size=8)
limits = st.builds(lambda n, beside: Limits(n, min(n, beside)), st.integers(1, 60), st.integers(1, 60))
ready = st.builds(Ready, st.lists(rows, max_size=4), st.integers(0, 4), grids, st.booleans())


@given(grids, st.integers(-3, 80))
def test_grids_go_in_the_order_in_which_they_wait(grid_rows: list[list[int]], room: int) -> None:
    assert list(share(grid_rows, room)) == grids_that_go(grid_rows, room)


@given(ready, limits)
def test_something_goes_wherever_something_is_ready(work: Ready, limits: Limits) -> None:
    choice = choose(work, limits)
    assert bool(work.question_rows) == bool(choice.n_questions)
    has_frames = any(work.grid_rows)
    if not work.question_rows or work.kept_frames:
        assert any(choice.n_grids) == has_frames
    else:
        assert not any(choice.n_grids)


@given(ready, limits)
def test_a_decode_step_waits_for_a_bounded_number_of_rows(work: Ready, limits: Limits) -> None:
    work = replace(work, n_decoding=max(work.n_decoding, 1))
    choice = choose(work, limits)
    frame_rows = sum(sum(rows[:n]) for rows, n in zip(work.grid_rows, choice.n_grids, strict=True))
    question_rows = sum(work.question_rows[: choice.n_questions])
    assert frame_rows < limits.n_beside_answers + 40
    assert question_rows < limits.n_rows + 40


@given(grids, limits, st.lists(st.booleans(), min_size=1, max_size=7))
def test_nobody_starves(grid_rows: list[list[int]], limits: Limits, asks: list[bool]) -> None:
    """All streams bring as much again as soon as they were served, and questions come in any rhythm."""
    streams = [(name, rows) for name, rows in enumerate(grid_rows) if rows]
    waiting, kept, n_forwards, n_with_frames = {name for name, _ in streams}, False, 0, 0
    ready_rows = sum(sum(rows) for _, rows in streams)
    while waiting:
        questions = [5] if asks[n_forwards % len(asks)] else []
        work = Ready(questions, 0, [rows for _, rows in streams], kept)
        choice = choose(work, limits)
        kept = frame_room(work, limits) == 0
        served = {name for (name, _), n in zip(streams, choice.n_grids, strict=True) if n}
        streams = [s for s in streams if s[0] not in served] + [s for s in streams if s[0] in served]
        waiting -= served
        n_forwards, n_with_frames = n_forwards + 1, n_with_frames + (not kept)
        room = max(min(limits.n_rows - 5, limits.n_beside_answers), 1) if any(asks) else limits.n_rows
        assert n_with_frames <= ceil(ready_rows / room) + 1
        assert n_forwards <= 2 * n_with_frames + 1


def test_limits() -> None:
    assert Limits.of("cpu", 10) == Limits(10, 10)
    assert Limits.of("cpu").n_beside_answers < Limits.of("cuda").n_beside_answers < Limits.of("cuda").n_rows
    with pytest.raises(ConfigError, match="max_forward_tokens is 0"):
        Limits.of("cpu", 0)
