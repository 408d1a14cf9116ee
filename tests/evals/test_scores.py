"""Averages by definition, on marks made by chance."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.evals.extraction import strict_count, strict_letter, strict_yes_no, without_letter
from hermes_stream.evals.scores import Average, Mark, Scores

AVERAGES = (
    Average("left", ("left",)),
    Average("right", ("c", "d"), "even"),
    Average("all", ("left", "d")),
    Average("both", ("left", "right"), "even"),
)
TASKS = {"a": ("left",), "b": ("left", "odd"), "c": (), "d": ("odd",)}

marks = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=0, max_size=12
)


def make(drawn: Sequence[tuple[str, float, bool]]) -> Scores:
    return Scores(
        "strict",
        tuple(
            Mark(key=str(index), task=task, video="v", value=value, groups=TASKS[task], is_counted=is_counted)
            for index, (task, value, is_counted) in enumerate(drawn)
        ),
        AVERAGES,
    )


def mean(drawn: Sequence[tuple[str, float, bool]], tasks: str) -> float | None:
    values = [value for task, value, is_counted in drawn if task in tasks and is_counted]
    return sum(values) / len(values) if values else None


def even(*means: float | None) -> float | None:
    known = [value for value in means if value is not None]
    return sum(known) / len(known) if len(known) == len(means) else None


@given(marks)
def test_averages_are_what_they_say(drawn: list[tuple[str, float, bool]]) -> None:
    scores = make(drawn)
    right = even(mean(drawn, "c"), mean(drawn, "d"))
    for name, expected in (
        ("a", mean(drawn, "a")),
        ("odd", mean(drawn, "bd")),
        ("left", mean(drawn, "ab")),
        ("right", right),
        ("all", mean(drawn, "abd")),
        ("both", even(mean(drawn, "ab"), right)),
        ("nobody", None),
    ):
        assert scores.mean(name) == (expected if expected is None else pytest.approx(expected)), name


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), (" B\n", "B"), ("(B)", "B"), ("B) two", "B"), ("B. two", "B"), ("B: two", "B"), ("(B two", "B"),
        ("B two", "B"), ("B\nbecause", "B"),
        ("", None), ("b", None), ("E", None), ("Best", None), ("Answer: B", None), ("1", None), ("(", None),
        ("B,", None),
    ],
)  # fmt: skip
def test_a_strict_letter_stands_alone_at_the_beginning(reply: str, letter: str | None) -> None:
    assert strict_letter(reply, 4) == letter


@pytest.mark.parametrize(
    ("reply", "count"), [("2", 2), ("2 out of 3", 2), ("about 12.", 12), ("none", None), ("", None), ("-1", -1)]
)
def test_a_strict_count_is_the_first_whole_number(reply: str, count: int | None) -> None:
    assert strict_count(reply) == count


@pytest.mark.parametrize(
    ("reply", "word"),
    [("Yes", "yes"), ("no.", "no"), ("No, yes", "no"), ("**Yes**", "yes"), ("Nothing", None), ("None", None),
     ("I say yes", None), ("", None), ("Y", None)],
)  # fmt: skip
def test_strict_yes_and_no_are_the_first_word(reply: str, word: str | None) -> None:
    assert strict_yes_no(reply) == word


@pytest.mark.parametrize(
    ("option", "index", "text"),
    [("A. one", 0, "one"), ("(B) two", 1, "two"), ("C) three", 2, "three"), ("B. two", 0, "B. two"), ("D", 3, "D"),
     ("D. D. Eisenhower", 3, "D. Eisenhower"), ("one", 0, "one"), ("A.", 0, "")],
)  # fmt: skip
def test_an_option_loses_its_own_letter_alone(option: str, index: int, text: str) -> None:
    assert without_letter(option, index) == text
