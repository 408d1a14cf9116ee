"""Questions: answers recomputed from nothing but the script's state on a fine grid of times."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import (
    TASKS,
    UNANSWERABLE,
    Question,
    Script,
    is_right,
    make_questions,
    make_script,
    questions_to_json,
)
from hermes_stream.shapestream.render import object_centers

GRID_SECONDS = 0.1


@dataclass(frozen=True)
class State:
    """The world at one moment, read through the script's two look-ups only."""

    time: float
    room: str
    digit: int | None
    kind: str | None
    count: int
    size: str | None
    center: float | None

    @property
    def color(self) -> str | None:
        return self.kind and self.kind.split()[0]

    @property
    def shape(self) -> str | None:
        return self.kind and self.kind.split()[1]


def state_at(script: Script, time: float) -> State:
    scene, presence = script.scene_at(time), script.presence_at(time)
    if presence is None:
        return State(time, scene.room, scene.digit, None, 0, None, None)
    center = object_centers(presence, time)[0]
    return State(time, scene.room, scene.digit, str(presence.kind), presence.count, presence.size, center)


def history(script: Script, time: float) -> list[State]:
    """States at grid times up to and including `time`."""
    times = [index * GRID_SECONDS for index in range(int(time / GRID_SECONDS) + 1)]
    return [state_at(script, moment) for moment in [*times, time]]


def recent(script: Script, time: float) -> list[State]:
    """States of the last half second."""
    return [state_at(script, max(time - tenth / 10, 0.0)) for tenth in (5, 4, 3, 2, 1, 0)]


def runs(states: list[State]) -> list[list[State]]:
    """Stretches during which one kind is on screen."""
    found: list[list[State]] = []
    previous = None
    for state in states:
        if state.kind is not None:
            if state.kind != previous:
                found.append([])
            found[-1].append(state)
        previous = state.kind
    return found


def brute_force_answer(question: Question, states: list[State]) -> str:
    """The answer by definition; states end at the question's time."""
    now, text = states[-1], question.question
    shown = [] if question.regime == "real-time" else runs(states)
    kinds = [run[0].kind for run in shown]
    named = re.search(r"(\w+ \w+)(?= visible| appeared| appears| last\?|\?$)", text)
    match question.task:
        case "object":
            return now.kind or "nothing"
        case "color":
            return now.color or ""
        case "shape":
            return now.shape or ""
        case "size":
            return now.size or ""
        case "room":
            return now.room
        case "digit":
            return "nothing" if now.digit is None else str(now.digit)
        case "visible_count":
            return str(now.count)
        case "where":
            assert now.center is not None
            return "left" if now.center < 0.35 else "right" if now.center > 0.65 else "middle"
        case "direction":
            earlier = states[-6]
            assert now.center is not None
            assert earlier.center is not None
            step = now.center - earlier.center
            return "still" if abs(step) < 0.005 else "right" if step > 0 else "left"
        case "is_color":
            return "yes" if text == f"Is the object {now.color}?" else "no"
        case "is_shape":
            return "yes" if text == f"Is the object a {now.shape}?" else "no"
        case "is_visible":
            assert named
            return "yes" if now.kind == named[1] else "no"
        case "before":
            return str(kinds[-2])
        case "first":
            return str(kinds[0])
        case "in_room":
            room = re.search(r"the (\w+) room", text)
            assert room
            seen = [run[0].kind for run in shown if run[0].room == room[1]]
            return str(seen[-1]) if seen else UNANSWERABLE
        case "which_room":
            rooms = [run[0].room for run in shown if text == f"In which room was the {run[0].kind} last?"]
            return rooms[-1] if rooms else UNANSWERABLE
        case "color_of":
            colors = [run[0].color for run in shown if text == f"What color was the last {run[0].shape}?"]
            return str(colors[-1]) if colors else UNANSWERABLE
        case "count":
            return str(len({s.kind for s in states if s.kind and s.time > now.time - 60}))
        case "last_objects":
            return ", ".join(str(kind) for kind in kinds[-3:])
        case "ever":
            assert named
            return "yes" if named[1] in kinds else "no"
        case "appeared":
            assert named
            return "yes" if named[1] in kinds else "no"
        case "alert":
            assert named
            return "now" if now.kind == named[1] else "not yet"
    raise AssertionError(f"no definition for task {question.task}")


@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
@settings(max_examples=8, deadline=None)
def test_answers_equal_brute_force(seed: int, fps: float) -> None:
    script = make_script(seed, 80.0)
    states = history(script, 79.9)
    for question in make_questions(script, fps=fps, every_seconds=1.0):
        n = int((question.time_s - 0.55) / GRID_SECONDS) + 1
        past = [*states[: max(n, 0)], *recent(script, question.time_s)]
        assert brute_force_answer(question, past) == question.answer, question


@given(st.integers(0, 10**6))
@settings(max_examples=3, deadline=None)
def test_answers_of_long_streams_equal_brute_force(seed: int) -> None:
    """Landmarks, and questions that reach back to them."""
    script = make_script(seed, 300.0, landmarks=10)
    states = history(script, 299.9)
    for question in make_questions(script, fps=1.0, every_seconds=5.0, reaches_back=True):
        past = [*states[: int((question.time_s - 0.55) / GRID_SECONDS) + 1], *recent(script, question.time_s)]
        assert brute_force_answer(question, past) == question.answer, question


def test_questions_about_long_streams_reach_back_to_their_beginning() -> None:
    """After half an hour kinds that come back were all shown minutes ago; landmarks were not."""
    tasks = ["which_room", "ever"]

    def share_older_than_a_quarter(landmarks: int, *, reaches_back: bool) -> float:
        script = make_script(900_000, 3600.0, landmarks=landmarks)
        asked = make_questions(script, fps=1.0, every_seconds=6.0, tasks=tasks, reaches_back=reaches_back)
        delays = [q.recall_delay_s for q in asked if q.time_s > 1800 and q.answer not in (UNANSWERABLE, "no")]
        return sum(delay > 900 for delay in delays) / len(delays)

    assert share_older_than_a_quarter(0, reaches_back=False) < 0.03
    assert 0.25 < share_older_than_a_quarter(10, reaches_back=True) < 0.6


@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=8, deadline=None)
def test_real_time_answers_hold_for_one_and_a_half_intervals(seed: int, fps: float) -> None:
    script = make_script(seed, 60.0)
    tasks = [task for task, regime in TASKS.items() if regime == "real-time"]
    for question in make_questions(script, fps=fps, every_seconds=1.0, tasks=tasks):
        for share in (0.25, 0.5, 0.75, 0.999):
            moment = question.time_s - share * 1.5 / fps
            assert brute_force_answer(question, recent(script, moment)) == question.answer, (question, share)


@given(st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_evidence_of_the_past_was_sampled_at_least_once(seed: int) -> None:
    """Frames at any phase show every kind that a backward answer names."""
    fps = 0.5
    script = make_script(seed, 100.0)
    for question in make_questions(script, fps=fps, every_seconds=1.0, tasks=["before", "first", "last_objects"]):
        for phase in (0.0, 0.7, 1.4):
            times = [phase + index / fps for index in range(int((question.time_s - phase) * fps) + 1)]
            sampled = {state_at(script, time).kind for time in times}
            assert set(question.answer.split(", ")) <= sampled, (question, phase)


@given(st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_recall_delays_count_from_the_last_sight_of_the_evidence(seed: int) -> None:
    script = make_script(seed, 80.0)
    states = history(script, 79.9)
    for question in make_questions(script, fps=1.0, every_seconds=1.0):
        assert question.recall_delay_s >= 0.0
        if question.regime == "real-time" or question.answer in (UNANSWERABLE, "no"):
            assert question.recall_delay_s == 0.0
        if question.task in ("before", "first"):
            past = [state for state in states if state.time <= question.time_s]
            run = runs(past)[0 if question.task == "first" else -2]
            assert question.time_s - run[-1].time == pytest.approx(question.recall_delay_s, abs=2 * GRID_SECONDS)


def test_forward_questions_know_when_their_event_happens() -> None:
    script = make_script(17, 150.0)
    states = history(script, 149.0)
    questions = make_questions(script, fps=1.0, every_seconds=0.5, tasks=["alert", "appeared"])
    assert {question.answer for question in questions} == {"now", "not yet", "yes", "no"}
    for question in questions:
        kind = next(k for k in {s.kind for s in states} | {None} if k is None or f"a {k} appear" in question.question)
        first = next((s.time for s in states if s.kind is not None and s.kind == kind), None)
        if question.answer in ("now", "yes"):
            assert question.event_time_s is not None
            assert question.event_time_s <= question.time_s
        else:
            assert question.event_time_s is None or question.event_time_s > question.time_s
        if first is not None:
            assert question.event_time_s == pytest.approx(first, abs=2 * GRID_SECONDS)


def test_every_task_and_regime_comes_up_in_a_minute_or_two() -> None:
    questions = make_questions(make_script(900_001, 120.0), fps=1.0, every_seconds=1.0)
    assert {question.task for question in questions} == set(TASKS)
    assert {question.regime for question in questions} == {"real-time", "backward", "forward"}


def test_questions_do_not_depend_on_what_comes_after() -> None:
    """Polls know the future, so only they may differ in a longer script."""
    short = make_questions(make_script(5, 60.0), fps=1.0, tasks=["object", "before", "ever"])
    long = make_questions(make_script(5, 120.0), fps=1.0, tasks=["object", "before", "ever"])
    assert long[: len(short)] == short


def test_json_has_exactly_the_documented_fields_in_time_order() -> None:
    questions = make_questions(make_script(900_002, 90.0), fps=1.0)
    rows = json.loads(questions_to_json(reversed(questions)))
    fields = {"time_s", "question", "answer", "regime", "task", "recall_delay_s"}
    assert [row["time_s"] for row in rows] == sorted(row["time_s"] for row in rows)
    for row in rows:
        assert set(row) == fields | ({"event_time_s"} if row["regime"] == "forward" else set())


def test_things_never_shown_are_unanswerable() -> None:
    questions = make_questions(make_script(3, 100.0), fps=1.0, every_seconds=0.5, tasks=["color_of", "in_room"])
    assert any(question.answer == UNANSWERABLE for question in questions)
    assert any(question.answer != UNANSWERABLE for question in questions)


def test_a_slow_sampler_gets_no_question_that_it_cannot_answer() -> None:
    """At one frame in ten seconds most presences could fall between two frames."""
    script = make_script(3, 200.0)
    for question in make_questions(script, fps=0.1, every_seconds=1.0, tasks=["object", "before", "count"]):
        presence = script.presence_at(question.time_s)
        assert presence is None or question.time_s - presence.start_seconds >= 15.0


def test_wrong_settings_are_refused() -> None:
    script = make_script(3, 20.0)
    with pytest.raises(ConfigError, match="did you mean before"):
        make_questions(script, fps=1.0, tasks=["befor"])
    with pytest.raises(ConfigError, match="every_seconds"):
        make_questions(script, fps=1.0, every_seconds=0.0)
    with pytest.raises(ConfigError, match="fps"):
        make_questions(script, fps=0.0)


@pytest.mark.parametrize("answer", ["Red Square", " red square. ", "red  square\n", "red square"])
def test_answers_match_but_for_case_space_and_closing_punctuation(answer: str) -> None:
    assert is_right(answer, "red square")


@pytest.mark.parametrize("answer", ["red", "a red square", "red square or blue ring", ""])
def test_other_answers_are_wrong(answer: str) -> None:
    assert not is_right(answer, "red square")
