"""What standing questions should tell, from the script alone; and what hits are worth, against a slow oracle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.engine.standing import StandingQuestion
from hermes_stream.evals.alert_truth import Event, Judgement, Posed, judge, pose
from hermes_stream.evals.alerts import Look, Seen
from hermes_stream.shapestream import Script, make_questions, make_script
from tests.oracles import alert_oracle
from tests.oracles.alert_oracle import Span

QUESTION = StandingQuestion(question="Has a red circle appeared by now?")
GRID_SECONDS = 0.1


def posed(spans: list[Span], alike: list[Span] | None = None) -> Posed:
    events = tuple(Event(span.start, span.end, span.is_due) for span in spans)
    return Posed("alert", QUESTION, events, tuple((span.start, span.end) for span in alike or []))


@st.composite
def stretches(draw: st.DrawFn) -> list[Span]:
    """In the order of their starts; one may reach into the next."""
    starts = sorted(draw(st.sets(st.integers(0, 40), max_size=5)))
    return [Span(start, start + draw(st.integers(0, 15)), draw(st.booleans())) for start in starts]


@given(stretches(), stretches(), st.lists(st.integers(0, 60), unique=True, max_size=12))
def test_hits_are_worth_what_the_definition_says(spans: list[Span], alike: list[Span], hits: list[int]) -> None:
    times = [float(hit) for hit in sorted(hits)]
    found, kinds = judge(posed(spans, alike), times), alert_oracle.kinds_of_hits(spans, times)
    assert list(found.is_news) == [kind == "news" for kind in kinds]
    assert (found.n_repeated, found.n_false) == (kinds.count("again"), kinds.count("false"))
    assert list(found.delay_seconds) == alert_oracle.delays(spans, times)
    false = [time for time, kind in zip(times, kinds, strict=True) if kind == "false"]
    assert found.n_alike == sum(any(a.start <= time <= a.end for a in alike) for time in false)


def test_an_episode_of_three_hits() -> None:
    """Too early; a little late; and once more, of the same."""
    found = judge(posed([Span(10, 20), Span(30, 40)], [Span(4, 6)]), [5.0, 12.5, 18.0])
    assert found == Judgement((2.5, None), (False, True, False), n_repeated=1, n_false=1, n_alike=1)


def test_questions_are_worded_as_the_tasks_word_them() -> None:
    script = make_script(900_000, 120)
    texts = {(each.task, each.question.question) for each in pose(script, fps=1, look_seconds=4)}
    assert len(texts) == 72
    asked = make_questions(script, fps=1, tasks=["appeared", "alert"])
    assert {(question.task, question.question) for question in asked} <= texts
    answers = {task: {q.answer for q in asked if q.task == task} for task in ("appeared", "alert")}
    for each in pose(script, fps=1, look_seconds=4):
        assert answers[each.task] <= set(each.question.choices)


@given(st.integers(900_000, 999_999))
@settings(max_examples=10, deadline=None)
def test_events_are_what_is_on_screen(seed: int) -> None:
    """Read moment by moment through the script's look-up."""
    script = make_script(seed, 40)
    moments = [index * GRID_SECONDS for index in range(int(40 / GRID_SECONDS))]
    shown = [str(presence.kind) if (presence := script.presence_at(time)) else "" for time in moments]
    for each in pose(script, fps=1, look_seconds=4):
        times = [time for time, kind in zip(moments, shown, strict=True) if kind and kind in each.question.question]
        for time in moments:
            told = any(event.start_seconds <= time <= event.end_seconds for event in each.events)
            if each.task == "appeared":
                assert told == any(at <= time for at in times)
            else:
                assert told <= any(time - 4 - GRID_SECONDS <= at <= time for at in times)
                assert told >= (time in times)


def test_only_first_appearances_that_a_look_can_still_find_are_due() -> None:
    script = make_script(900_000, 64)
    for each in pose(script, fps=1, look_seconds=4):
        due = [event for event in each.events if event.is_due]
        assert due == list(each.events[:1]) or each.events[0].start_seconds > 64 - 4 - 1.5
        assert all(event.end_seconds == math.inf for event in each.events if each.task == "appeared")
        first = first_seconds(script, each)
        assert [event.start_seconds for event in each.events[:1]] == ([] if first is None else [first])


def first_seconds(script: Script, each: Posed) -> float | None:
    starts = [p.start_seconds for p in script.presences if str(p.kind) in each.question.question]
    return next((start for start in starts if start < script.duration_seconds), None)


def test_looks_are_counted_anew_with_another_threshold() -> None:
    looks = tuple(Look(float(second), p) for second, p in enumerate((0.1, 0.4, 0.6, 0.7, 0.1, 0.9)))
    seen = Seen(0, posed([]), looks)
    assert seen.hit_seconds(QUESTION) == [2, 5]
    assert seen.hit_seconds(QUESTION.model_copy(update={"threshold": 0.3})) == [1, 5]
    assert seen.hit_seconds(QUESTION.model_copy(update={"hold_looks": 2})) == [3]


@pytest.mark.parametrize("name", ["red circle", "purple square"])
def test_sights_that_are_alike_share_one_half_of_the_name(name: str) -> None:
    script = make_script(900_001, 200)
    (each,) = [
        p for p in pose(script, fps=1, look_seconds=4) if p.task == "alert" and f" {name} " in p.question.question
    ]
    color, shape = name.split()
    kinds = {str(script.presence_at(start).kind) for start, _ in each.alike}  # type: ignore[union-attr]
    assert kinds
    assert all((kind.split()[0] == color) != (kind.split()[1] == shape) for kind in kinds)
