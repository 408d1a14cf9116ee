"""LongVideoBench: replies for which the usual script guesses, its two shapes, questions about subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import END, Item, Reply
from hermes_stream.evals.scores import Mode
from hermes_stream.evals.task import Loaded, Setting
from hermes_stream.evals.tasks.longvideobench import LongVideoBench
from tests.evals.published.longvideobench import CATEGORIES, LENGTHS, as_table, rows
from tests.evals.replies import replies
from tests.oracles import longvideobench_oracle as oracle


def load(folder: Path, table: list[dict[str, Any]]) -> Loaded:
    (folder / "lvb_val.json").write_text(json.dumps(table))
    return LongVideoBench().load(folder)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Item, ...]:
    return load(tmp_path_factory.mktemp("longvideobench"), rows()).items


def said(items: tuple[Item, ...], texts: list[str]) -> dict[str, Reply]:
    return {item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, texts, strict=True)}


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", "B", "B"),
        ("(B)", "B", "B"),
        ("B. two cups", "B", "B"),
        ("Best option: (C)", "C", None),
        ("The best option is C", "C", None),
        ("Answer: B", "A", None),
        ("E", "E", "E"),
        ("Because of D", "B", None),
        ("two cups", None, None),
        ("", None, None),
        ("b", None, None),
    ],
)
def test_how_replies_are_read(items: tuple[Item, ...], reply: str, official: str | None, strict: str | None) -> None:
    assert len(items[0].choices) == 5
    assert LongVideoBench().official_letter(items[0], reply) == official
    assert LongVideoBench().answer_in(items[0], Reply(key="", text=reply), "strict") == strict


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_official_numbers_are_those_of_the_script(items: tuple[Item, ...], data: st.DataObject) -> None:
    texts = data.draw(st.lists(replies("two cups"), min_size=len(items), max_size=len(items)))
    scores = LongVideoBench().score(items, said(items, texts), "official")
    answered = list(zip(rows(), texts, strict=True))
    for name, field, value in (
        *((str(length), "duration_group", length) for length in LENGTHS),
        *((category, "question_category", category) for category in CATEGORIES),
    ):
        part = [(row, text) for row, text in answered if row[field] == value]
        assert scores.mean(name) == pytest.approx(float(oracle.accuracy(part)))
    assert scores.mean("overall") == pytest.approx(float(oracle.accuracy(answered)))
    guessed = float(100 * oracle.accuracy_with_guesses(answered))
    assert scores.extras == {"overall, unread replies guessed": pytest.approx(guessed)}


@pytest.mark.parametrize("mode", ["official", "strict"])
def test_replies_that_cannot_be_read_are_wrong_and_no_letter_is_drawn(items: tuple[Item, ...], mode: Mode) -> None:
    first, second = (LongVideoBench().score(items, said(items, ["no idea"] * len(items)), mode).marks for _ in range(2))
    assert first == second
    assert {mark.value for mark in first} == {0.0}
    assert all(mark.is_counted and not mark.is_parsed for mark in first)


def test_what_was_not_answered_is_not_guessed(items: tuple[Item, ...]) -> None:
    assert LongVideoBench().score(items, {}, "official").extras == {"overall, unread replies guessed": 0.0}
    assert LongVideoBench().score(items, {}, "strict").extras == {}


def test_the_table_s_missing_options_are_none(items: tuple[Item, ...], tmp_path: Path) -> None:
    """Its rows say "N/A" where there are fewer than five."""
    loaded = load(tmp_path, [as_table(row) for row in rows()])
    assert [(item.choices, item.truth) for item in loaded.items] == [(item.choices, item.truth) for item in items]
    assert {len(item.choices) for item in loaded.items} == {3, 4, 5}
    assert loaded.problems[0].kind == "missing-video"


def test_questions_about_subtitles_are_shown_apart(items: tuple[Item, ...]) -> None:
    """Subtitles are not shown."""
    right = {item.qid: Reply(key=item.qid, text=item.truth) for item in items if item.task != "T2E"}
    scores = LongVideoBench().score(items, right, "strict")
    assert (scores.mean("questions of subtitles"), scores.mean("questions of pictures")) == (0.0, 1.0)
    assert scores.mean("overall") == pytest.approx(2 / 3)
    assert [average.is_apart for average in scores.averages] == [False] * 5 + [True] * 2


def test_where_the_evidence_is_is_told_to_no_prompt(items: tuple[Item, ...]) -> None:
    for item in items:
        assert "position" not in item.meta
        assert item.gold is not None
        assert item.gold.facts == {"position": [10, 40]}
        assert (item.clip, item.ask_seconds) == ((0.0, END), END)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correct_choice": 5}, "has 'correct_choice' = 5; expected the index of an option"),
        ({"correct_choice": -1}, "has 'correct_choice' = -1"),
        ({"correct_choice": "B"}, "has 'correct_choice' = 'B'; expected a whole number"),
        ({"duration_group": 30}, "has 'duration_group' = '30'; expected 15, 60, 600, 3600"),
        ({"candidates": None}, "has no 'candidates' and fewer than two options"),
        ({"candidates": None, "option0": "a", "option1": "N/A"}, "fewer than two options"),
    ],
)
def test_records_that_cannot_be_used_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    loaded = load(tmp_path, [rows()[0] | change])
    assert loaded.items == ()
    assert str(loaded.problems[0]).startswith("lvb_val.json, record 0: ")
    assert message in str(loaded.problems[0])


def test_the_test_split_without_labels_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "lvb_test_wo_gt.json").write_text(json.dumps(rows()))
    with pytest.raises(TaskError, match=r"there is no lvb_val\.json"):
        LongVideoBench().load(tmp_path)


def test_the_wording_of_the_loader_is_used(data_of: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "copy" / "longvideobench").mkdir(parents=True)
    (tmp_path / "copy" / "longvideobench" / "longvideobench_dataset.py").write_text(
        'inputs = ["Question - " + di["question"]]\ninputs += ["Say the option\'s letter."]\n'
    )
    task = LongVideoBench(Setting(prompts=tmp_path / "copy", splits=("3600",)))
    item = next(item for item in task.load(data_of("longvideobench")).items if len(item.choices) == 3)
    assert task.prompt(item, task.polls(item)[0], ()).prompt == (
        f"Question - {item.question}\nA. a man in red\nB. two cups\nC. Both of them\nSay the option's letter."
    )
