"""A commentary that follows a source: silence first, then steps are dropped, and the lag is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from hermes_stream import Engine, KeepAll, SlidingWindow, UsageError
from hermes_stream.engine.commentary.following import Pulse, PulseMeter, StepQueue
from hermes_stream.engine.commentary.steps import in_steps, step_of
from hermes_stream.errors import ConfigError
from hermes_stream.types import Frame
from tests.tiny import make_frames

PATIENCE_SECONDS = 30


def frames_at(*seconds: float) -> list[Frame]:
    image = make_frames(1)[0].image_YXC
    return [Frame(when, image) for when in seconds]


class Gate:
    """A source that brings some frames at once and the others when it is opened."""

    def __init__(self, first: list[Frame], rest: list[Frame]) -> None:
        self._first, self._rest = first, rest
        self.opened, self.is_read = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        yield from self._first
        self.is_read.set()
        assert self.opened.wait(PATIENCE_SECONDS)
        yield from self._rest


def test_steps_are_cut_by_the_videos_times() -> None:
    cut = [(step, [frame.pts_seconds for frame in shown]) for step, shown in in_steps(frames_at(0.2, 0.9, 1.0, 4.5), 1)]
    assert cut == [(0, [0.2, 0.9]), (1, [1.0]), (4, [4.5])]


def test_a_time_that_is_a_whole_number_of_steps_is_not_floored_below_it() -> None:
    assert [step_of(index * 0.1, 0.1) for index in range(100)] == list(range(100))


def test_times_must_not_fall() -> None:
    with pytest.raises(UsageError, match="times must not fall"):
        list(in_steps(frames_at(1.0, 0.5), 1.0))


def test_a_step_waits_behind_another() -> None:
    queue = StepQueue(frames_at(0, 1, 2), 1.0, most_waiting=4)
    first = queue.take()
    while (due := queue.take()) is not None:
        last = due
    assert first is not None
    assert (first.step, last.step, last.waits_behind) == (0, 2, False)


def test_the_oldest_steps_are_dropped_and_counted() -> None:
    gate = Gate(frames_at(*[index / 2 for index in range(21)]), [])
    queue = StepQueue(gate, 1.0, most_waiting=3)
    assert gate.is_read.wait(PATIENCE_SECONDS)
    taken = [queue.take() for _ in range(3)]
    assert [due.step for due in taken if due is not None] == [7, 8, 9]
    assert [due.waits_behind for due in taken if due is not None] == [True, True, False]
    assert queue.n_dropped == 14
    gate.opened.set()


def test_what_the_source_raises_comes_behind_its_last_step() -> None:
    def broken() -> Iterator[Frame]:
        yield from frames_at(0, 1, 2)
        raise ConnectionError("gone")

    queue = StepQueue(broken(), 1.0, most_waiting=4)
    assert [due.step for due in (queue.take(), queue.take()) if due is not None] == [0, 1]
    with pytest.raises(ConnectionError, match="gone"):
        queue.take()


def test_no_room_for_a_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 step must be able to wait"):
        StepQueue([], 1.0, most_waiting=0)


def test_who_falls_behind_is_silent_first(engine: Engine) -> None:
    """Eleven steps at once: the last two are spoken about, or the last alone; four waited at most; none is late."""
    gate = Gate(frames_at(*range(11)), frames_at(11))
    with engine.open(SlidingWindow(budget=120)) as session:
        narration = session.narrate("Say what happens.", tokens_per_second=3)
        followed = narration.follow(gate, most_waiting=4)
        first = next(followed)
        assert gate.is_read.wait(PATIENCE_SECONDS)
        gate.opened.set()
        remarks = [first, *followed]
        pulse = narration.pulse
        session.check_invariants()
    spoken = [remark for remark in remarks if not remark.was_skipped]
    assert spoken[-1].start_seconds == 11
    assert [remark.text for remark in remarks if remark.was_skipped] == [""] * pulse.n_skipped
    assert pulse.n_spoken == len(spoken)
    assert pulse.n_dropped + len(remarks) == 12


def test_a_source_that_can_be_kept_up_with_loses_nothing(engine: Engine) -> None:
    def slow() -> Iterator[Frame]:
        for frame in frames_at(*range(4)):
            yield frame
            time.sleep(0.4)

    with engine.open(KeepAll()) as session:
        narration = session.narrate("Say what happens.", tokens_per_second=2)
        remarks = list(narration.follow(slow()))
        pulse = narration.pulse
    assert [remark.start_seconds for remark in remarks] == [0, 1, 2, 3]
    assert (pulse.n_spoken, pulse.n_skipped, pulse.n_dropped) == (4, 0, 0)
    assert all(0 < remark.speaking_seconds < remark.seconds <= remark.lag_seconds for remark in remarks)


def test_a_pulse_is_means_over_the_newest_steps() -> None:
    meter = PulseMeter(step_seconds=2.0)
    assert meter.pulse(0) == Pulse(None, 0.0, 0.0, 0, 0, 0)
    for index in range(100):
        meter.count(8 if index >= 70 else 1000, 0.5, 0.1 * index, was_skipped=index % 10 == 0)
    pulse = meter.pulse(7)
    assert (pulse.available_per_second, pulse.needed_per_second) == (16.0, 4.0)
    assert pulse.lag_seconds == pytest.approx(9.9)
    assert (pulse.n_spoken, pulse.n_skipped, pulse.n_dropped) == (90, 10, 7)
