"""When a standing question fires: against a slow oracle, and its laws one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hermes_stream.engine.standing import StandingQuestion, Trigger
from hermes_stream.errors import UsageError
from tests.oracles import standing_oracle
from tests.oracles.standing_oracle import Look

QUESTION = "Has a red circle appeared by now?"
# Quarters, so that sums of seconds are exact; times that stand still and fall are among them.
STEPS = st.sampled_from([-2.0, 0.0, 0.25, 0.25, 0.5, 1.0, 1.0, 4.0, 60.0])
# At the thresholds and at the limits for arming again, and around them.
PROBABILITIES = st.sampled_from([0.0, 0.11, 0.2, 0.33, 0.34, 0.45, 0.5, 0.6, 0.81, 0.82, 0.9, 1.0]) | st.floats(0, 1)
QUESTIONS = st.builds(
    StandingQuestion,
    question=st.just(QUESTION),
    threshold=st.sampled_from([0.2, 0.5, 0.9]),
    hold_seconds=st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]),
    hold_looks=st.sampled_from([1, 1, 2, 3]),
    cooldown_seconds=st.sampled_from([0.0, 0.0, 1.0, 5.0, 100.0]),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Look]:
    seconds, looks = 0.0, []
    for _ in range(draw(st.integers(0, 40))):
        seconds += draw(STEPS)
        looks.append(Look(seconds, draw(PROBABILITIES), after_gap=draw(st.integers(0, 9)) == 0))
    return looks


def triggers(question: StandingQuestion, looks: Iterable[Look], start: Trigger | None = None) -> list[Trigger]:
    states = [start or Trigger()]
    for look in looks:
        states.append(states[-1].after(question, look.seconds, look.probability, after_gap=look.after_gap))
    return states


def hits(question: StandingQuestion, looks: Sequence[Look]) -> list[float]:
    states = triggers(question, looks)
    fired = [after for before, after in pairwise(states) if after.n_hits > before.n_hits]
    return [state.fired_seconds for state in fired if state.fired_seconds is not None]


def steady(text: str) -> list[Look]:
    """A look a second: "." is far below the threshold, "-" a little, "#" above, "|" above and after a gap."""
    levels = {".": 0.0, "-": 0.4, "#": 0.9, "|": 0.9}
    return [Look(float(at), levels[sign], after_gap=sign == "|") for at, sign in enumerate(text)]


def fires_at(looks: str, **options: float) -> str:
    """The looks with a "!" for each hit."""
    times = hits(StandingQuestion(question=QUESTION, **options), steady(looks))  # type: ignore[arg-type]
    return "".join("!" if at in times else sign for at, sign in enumerate(looks))


@given(QUESTIONS, streams())
def test_fires_when_the_rules_say_so(question: StandingQuestion, looks: list[Look]) -> None:
    options = question.model_dump(include={"threshold", "hold_seconds", "hold_looks", "cooldown_seconds"})
    assert hits(question, looks) == standing_oracle.hits(looks, **options)


@given(QUESTIONS, streams())
def test_there_are_never_two_hits_within_a_cool_down_nor_without_a_fall_between(
    question: StandingQuestion, looks: list[Look]
) -> None:
    seen = {look.seconds: look.probability for look in standing_oracle.news(looks)}
    times = hits(question, looks)
    for first, second in pairwise(times):
        assert second - first >= question.cooldown_seconds
        assert min(p for time, p in seen.items() if first < time < second) < question.rearm_probability
    assert all(seen[time] >= question.threshold for time in times)


@given(QUESTIONS, streams(), st.data())
def test_a_trigger_that_was_kept_goes_on_as_if_nothing_had_been(
    question: StandingQuestion, looks: list[Look], data: st.DataObject
) -> None:
    """Also where the stream begins again a little earlier, as after a crash: what was looked at says nothing new."""
    cut = data.draw(st.integers(0, len(looks)))
    again = data.draw(st.integers(0, cut))
    kept = asdict(triggers(question, looks[:cut])[-1])
    assert triggers(question, looks[again:], Trigger(**kept))[-1] == triggers(question, looks)[-1]


def test_a_threshold_and_its_fall_are_half_the_odds_apart() -> None:
    for threshold in (0.01, 0.5, 0.9, 0.999):
        below = StandingQuestion(question=QUESTION, threshold=threshold).rearm_probability
        assert below / (1 - below) == pytest.approx(threshold / (1 - threshold) / 2)


def test_it_fires_once_for_each_rise() -> None:
    assert fires_at("..####..###.#") == "..!###..!##.!"


def test_what_is_so_from_the_start_is_told() -> None:
    assert fires_at("###.") == "!##."


def test_a_wavering_probability_does_not_fire_again() -> None:
    assert fires_at(".##-#-##.-#") == ".!#-#-##.-!"


def test_held_for_seconds_and_for_looks() -> None:
    assert fires_at(".##.####.", hold_seconds=2) == ".##.##!#."
    assert fires_at(".##.####.", hold_looks=4) == ".##.###!."
    assert fires_at(".##-####.", hold_looks=3) == ".##-##!#."


def test_what_was_held_before_a_gap_is_held_anew_after_it() -> None:
    assert fires_at(".##|##.", hold_seconds=2) == ".##|#!."
    assert fires_at(".##|##.") == ".!#|##."


def test_a_hit_that_outlasts_the_cool_down_is_told_at_its_end() -> None:
    assert fires_at(".#.#.######", cooldown_seconds=6) == ".!.#.##!###"
    assert fires_at(".#.#.......", cooldown_seconds=6) == ".!.#......."


def test_equal_and_earlier_times_change_nothing() -> None:
    question = StandingQuestion(question=QUESTION, hold_looks=2)
    state = Trigger().after(question, 5.0, 0.9)
    for seconds in (5.0, 4.0):
        for probability in (0.0, 0.9):
            assert state.after(question, seconds, probability) is state


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, 2.0, float("nan"), float("inf")])
def test_a_threshold_is_a_probability_between_never_and_always(threshold: float) -> None:
    with pytest.raises(ValidationError, match="threshold"):
        StandingQuestion(question=QUESTION, threshold=threshold)


@pytest.mark.parametrize("choices", [(), ("yes",), ("yes", "Yes "), ("yes", " "), tuple(map(str, range(27)))])
def test_choices_that_are_not_several_different_answers_are_refused(choices: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="2 to 26 different answers, the hit first"):
        StandingQuestion(question=QUESTION, choices=choices)


def test_an_empty_question_is_refused() -> None:
    with pytest.raises(UsageError, match="expected what you want to know"):
        StandingQuestion(question="  ")
