"""Judges without a model, and how far two judges agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.judge import Verdict
from hermes_stream.evals.judges import find_rule
from hermes_stream.evals.judges.judging import Case, agreement, judge_all
from tests.oracles.agreement_oracle import share_and_kappa


@pytest.mark.parametrize(
    ("gold", "said", "exact", "fuzzy"),
    [
        ("A red screwdriver.", "a red screwdriver", True, True),
        ("A red screwdriver.", "The screwdriver is red", False, True),
        ("A red screwdriver.", "A hammer", False, False),
        ("yes", "Yes, he does, twice in the kitchen", False, True),
        ("No.", "no", True, True),
        ("no", "I know", False, False),
        ("two cups", "two", False, True),
        ("two cups and a plate on the table", "two", False, False),
        ("the", "the", True, True),
        ("red", "", False, False),
    ],
)
def test_rules_judge(gold: str, said: str, exact: bool, fuzzy: bool) -> None:
    assert find_rule("exact").judge("?", gold, said).is_right == exact
    assert find_rule("fuzzy").judge("?", gold, said).is_right == fuzzy


@given(st.lists(st.sampled_from(["red", "blue", "the", "cup"]), max_size=6), st.lists(st.sampled_from(["red", "cup"])))
def test_fuzzy_scores_are_symmetric_and_bounded(one: list[str], other: list[str]) -> None:
    rule = find_rule("fuzzy")
    there = rule.judge("", " ".join(one), " ".join(other)).score
    back = rule.judge("", " ".join(other), " ".join(one)).score
    assert there is not None
    assert there == back
    assert 0 <= there <= 5
    assert rule.judge("", " ".join(one), " ".join(one)).score == 5


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(TaskError, match="unknown judge 'exakt'; did you mean exact"):
        find_rule("exakt")


def test_rules_say_who_they_are() -> None:
    assert find_rule("exact").manifest == {"model": "exact"}
    assert find_rule("fuzzy").manifest["threshold"] == "0.6"
    assert find_rule("exact").cache_key("q", "a", "b") != find_rule("fuzzy").cache_key("q", "a", "b")


def verdicts(answers: list[bool | None]) -> dict[str, Verdict]:
    return {str(index): Verdict(answer, None, "") for index, answer in enumerate(answers)}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_agreement_is_what_its_definition_says(said: list[tuple[bool, bool]]) -> None:
    first, second = (list(side) for side in zip(*said, strict=True))
    found = agreement(verdicts(first), verdicts(second))
    share, kappa = share_and_kappa(said)
    assert (found.n, found.n_apart) == (len(said), 0)
    assert found.share == pytest.approx(float(share))
    assert found.kappa == (None if kappa is None else pytest.approx(float(kappa)))


def test_agreement_of_a_known_table() -> None:
    """20 both yes, 5 and 10 apart, 15 both no: 0.7 observed, 0.5 by chance."""
    said = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = agreement(*(verdicts(list(side)) for side in zip(*said, strict=True)))
    assert (found.share, found.kappa) == (pytest.approx(0.7), pytest.approx(0.4))
    assert str(found) == "agree on 70.0 % of 50 answers, Cohen's kappa 0.40, 0 not judged by both"


def test_what_only_one_has_judged_readably_is_counted_apart() -> None:
    first, second = verdicts([True, None, False, True]), verdicts([True, True, None])
    found = agreement(first, second)
    assert (found.n, found.n_apart, found.share, found.kappa) == (1, 3, 1.0, None)
    assert agreement({}, second) == agreement(second, {})
    assert agreement({}, second).share is None
    assert str(agreement({}, second)) == "agree on no answer, Cohen's kappa not defined, 3 not judged by both"


def test_two_rules_can_be_compared() -> None:
    cases = [
        Case("a", "?", "red cup", "red cup"),
        Case("b", "?", "red cup", "the cup is red"),
        Case("c", "?", "x", "y"),
    ]
    one, other = (judge_all(find_rule(name), cases) for name in ("exact", "fuzzy"))
    assert agreement(one.verdicts, other.verdicts).share == pytest.approx(2 / 3)
