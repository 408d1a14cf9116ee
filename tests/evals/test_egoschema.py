"""EgoSchema: how its runner reads replies, labels that are held back, its two published shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import END, Item, Reply
from hermes_stream.evals.task import Loaded, Setting
from hermes_stream.evals.tasks.egoschema import EgoSchema
from tests.evals.published.egoschema import N_LABELLED, TEXTS, UIDS, labelled, row
from tests.evals.replies import replies
from tests.oracles.egoschema_oracle import official_index


def loaded_from(folder: Path, rows: list[dict[str, object]], **setting: object) -> Loaded:
    (folder / "Subset").mkdir(exist_ok=True)
    (folder / "Subset" / "test.json").write_text(json.dumps(rows))
    return EgoSchema(Setting(**setting)).load(folder)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Item, ...]:
    return loaded_from(tmp_path_factory.mktemp("egoschema"), labelled()).items


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", "B", "B"),
        ("B.", None, "B"),
        (" B", None, "B"),
        ("(B)", None, "B"),
        ("b", None, None),
        ("1", None, None),
        ("D. to clean it", None, "D"),
        ("D. to clean it.", "D", "D"),
        ("to clean it.", "D", None),
        ("to clean it", None, None),
        ("C paints. Then C washes the brush.", None, None),
        ("C paints", "B", None),
        ("C C paints. Then C sleeps", None, "C"),
        ("C. sleeps", None, "C"),
        ("A", "E", "A"),
        ("A. Nothing happens.", None, "A"),
        ("E. A. Nothing happens.", "E", "E"),
        ("", None, None),
    ],
)
def test_how_replies_are_read(items: tuple[Item, ...], reply: str, official: str | None, strict: str | None) -> None:
    """One option is "E. A. Nothing happens": its first sentence is "A"."""
    assert EgoSchema().official_letter(items[0], reply) == official
    assert EgoSchema().answer_in(items[0], Reply(key="", text=reply), "strict") == strict


def test_options_without_letters_have_none_to_name(tmp_path: Path) -> None:
    """The runner takes a letter from the option; "B" is then wrong for it, and right in strict."""
    loaded = loaded_from(tmp_path, [row(0, "1") | {"option": ["red", "blue", "green", "two", "none"]}])
    (item,) = loaded.items
    assert item.choices == ("red", "blue", "green", "two", "none")
    assert [EgoSchema().official_letter(item, reply) for reply in ("B", "blue", "blue.")] == [None, "B", "B"]


SHAPES = (
    [f"{letter}. {text}" for letter, text in zip("ABCDE", TEXTS, strict=True)],
    list(TEXTS),
    ["A. x", "B. x", "B.", "D.  x. y", "."],
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SHAPES), replies(*TEXTS, *SHAPES[2], *(text + "." for text in TEXTS)))
@example(SHAPES[2], "x.")
@example(SHAPES[2], "")
def test_official_letters_are_those_of_the_runner(
    tmp_path_factory: pytest.TempPathFactory, options: list[str], reply: str
) -> None:
    folder = tmp_path_factory.mktemp("shape")
    (item,) = loaded_from(folder, [row(0, 1) | {"option": options}]).items
    index = official_index(options, reply)
    assert EgoSchema().official_letter(item, reply) == (None if index < 0 else "ABCDE"[index])


def test_accuracy_is_of_the_labelled_and_loses_nothing(items: tuple[Item, ...]) -> None:
    said = {items[0].qid: "B", items[1].qid: "E", items[2].qid: ""}
    scores = EgoSchema().score(items, {key: Reply(key=key, text=text) for key, text in said.items()}, "official")
    expected = [official_index(record["option"], said[record["video_idx"]]) for record in labelled()]
    right = [index == int(record["answer"]) for index, record in zip(expected, labelled(), strict=True)]
    assert scores.mean("overall") == pytest.approx(sum(right) / N_LABELLED)
    assert scores.n_unparsed == 1


def test_an_index_is_a_text_or_a_number(items: tuple[Item, ...]) -> None:
    assert [item.truth for item in items] == ["B", "B", "D"]


def test_questions_without_a_label_are_asked_and_not_scored(data_of: Callable[[str], Path]) -> None:
    loaded = EgoSchema().load(data_of("egoschema"))
    assert [(item.qid, item.split) for item in loaded.items] == [
        (uid, "subset" if number < N_LABELLED else "unlabelled") for number, uid in enumerate(UIDS)
    ]
    scores = EgoSchema().score(loaded.items, {}, "strict")
    assert [mark.key for mark in scores.marks] == list(UIDS[:N_LABELLED])
    assert {item.ask_seconds for item in loaded.items} == {END}


def test_a_question_of_both_tables_is_no_duplicate(data_of: Callable[[str], Path]) -> None:
    assert EgoSchema().load(data_of("egoschema")).problems == ()


@pytest.mark.parametrize("nothing", [None, "", "None", -1, "-1"])
def test_a_label_may_be_missing_in_many_ways(tmp_path: Path, nothing: object) -> None:
    loaded = loaded_from(tmp_path, [row(0, None) | {"answer": nothing}])
    assert [item.gold for item in loaded.items] == [None]


@pytest.mark.parametrize("label", ["5", 7, "B", -2, True, 1.0, "²"])
def test_a_label_that_is_no_index_is_named(tmp_path: Path, label: object) -> None:
    loaded = loaded_from(tmp_path, [row(0, None) | {"answer": label}])
    assert loaded.items == ()
    assert "expected the index of an option, 0 to 4" in str(loaded.problems[0])


def test_videos_may_be_written_large(data_of: Callable[[str], Path]) -> None:
    loaded = EgoSchema().load(data_of("egoschema"))
    assert [item.video for item in loaded.items[:2]] == [f"videos/{UIDS[0]}.mp4", f"videos/{UIDS[1]}.MP4"]


def repository(folder: Path, labels: object) -> Path:
    questions = [
        {"q_uid": uid, "google_drive_id": "x", "question": f"Why, number {number}?"}
        | {f"option {index}": text for index, text in enumerate(TEXTS)}
        for number, uid in enumerate(UIDS)
    ]
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "subset_answers.json").write_text(json.dumps(labels))
    return folder


def test_the_repository_s_files_are_read_too(tmp_path: Path) -> None:
    loaded = EgoSchema().load(repository(tmp_path, {UIDS[1]: 3, UIDS[4]: 0}))
    assert [item.truth for item in loaded.items] == ["", "D", "", "", "A"]
    assert {item.choices for item in loaded.items} == {(*TEXTS[:4], TEXTS[4])}
    assert len({EgoSchema().load(repository(tmp_path, each)).annotation_sha256 for each in ({}, {UIDS[1]: 3})}) == 2


@pytest.mark.parametrize("labels", [[1, 2], "no"])
def test_labels_that_are_none_by_id_are_refused(tmp_path: Path, labels: object) -> None:
    with pytest.raises(TaskError, match=r"subset_answers\.json holds no labels by id"):
        EgoSchema().load(repository(tmp_path, labels))


def test_the_closing_line_of_the_runner_s_copy_is_used(items: tuple[Item, ...], tmp_path: Path) -> None:
    (tmp_path / "lmms_eval/tasks/egoschema").mkdir(parents=True)
    path = tmp_path / "lmms_eval/tasks/egoschema/utils.py"
    path.write_text(
        "def f():\n    post_prompt = ''\n    if 1:\n        post_prompt = \"\\nSay the option's letter.\"\n"
    )
    task = EgoSchema(Setting(prompts=tmp_path))
    prompt = task.prompt(items[0], task.polls(items[0])[0], ()).prompt
    lettered = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCDE", TEXTS, strict=True))
    assert prompt == f"{items[0].question}\n{lettered}\nSay the option's letter."
    path.write_text("x = 1")
    with pytest.raises(TaskError, match="--prompts"):
        task.prompt(items[0], task.polls(items[0])[0], ())
