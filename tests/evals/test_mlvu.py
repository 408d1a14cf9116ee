"""MLVU: its script's traps, equal options, repackaged copies, the test split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import Item, Reply
from hermes_stream.evals.scores import Mode
from hermes_stream.evals.task import Setting
from hermes_stream.evals.tasks.mlvu import Mlvu
from tests.evals.published.mlvu import FILES, OPTIONS, TEST_OPTIONS, copied, of_test, rows
from tests.evals.replies import replies
from tests.oracles.mlvu_oracle import is_right, official

ROWS = [(task, row) for task in FILES for row in rows(task)]


@pytest.fixture
def folder(data_of: Callable[[str], Path]) -> Path:
    return data_of("mlvu")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Item, ...]:
    """Of dev, without videos."""
    folder = tmp_path_factory.mktemp("mlvu")
    for task, (name, _) in FILES.items():
        (folder / f"{name}.json").write_text(json.dumps(rows(task)))
    return Mlvu().load(folder).items


def said(items: tuple[Item, ...], texts: list[str]) -> dict[str, Reply]:
    return {item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, texts, strict=True)}


@pytest.mark.parametrize(
    ("reply", "letter", "strict"),
    [
        ("B", "B", "B"),
        (" B\n", "B", "B"),
        ("(B) two (2) cups", "B", "B"),
        ("B) two (2) cups", "B", "B"),
        ("two (2) cups", None, None),
        ("The answer is (B)", "B", None),
        ("B.", None, "B"),
        ("B. two (2) cups", None, "B"),
        ("B two", None, "B"),
        ("b)", None, None),
        ("Answer: B", None, None),
        (") B", None, None),
        ("E", None, None),
        ("", None, None),
    ],
)
def test_how_replies_are_read(items: tuple[Item, ...], reply: str, letter: str | None, strict: str | None) -> None:
    assert Mlvu().official_letter(items[0], reply) == letter
    assert Mlvu().answer_in(items[0], Reply(key="", text=reply), "strict") == strict


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_official_numbers_are_those_of_the_script(items: tuple[Item, ...], data: st.DataObject) -> None:
    """Its own "Avg" is of all questions; M-Avg, which everybody prints, is the mean of the tasks."""
    texts = data.draw(st.lists(replies(*OPTIONS, "(B) ", "C)"), min_size=len(items), max_size=len(items)))
    scores = Mlvu().score(items, said(items, texts), "official")
    shares, mean, pooled = official([(task, row, text) for (task, row), text in zip(ROWS, texts, strict=True)])
    for task, share in shares.items():
        assert scores.mean(task) == pytest.approx(float(share))
    assert scores.mean("M-Avg") == pytest.approx(float(mean))
    assert scores.mean("all questions") == pytest.approx(float(pooled))


@given(replies(*OPTIONS, "A)", "(D)"))
def test_each_reply_is_right_where_the_script_says_so(items: tuple[Item, ...], reply: str) -> None:
    for item, (_, row) in zip(items, ROWS, strict=True):
        assert (Mlvu().official_letter(item, reply) == item.truth) == is_right(row, reply)


def test_the_mean_is_of_tasks_not_of_questions(items: tuple[Item, ...]) -> None:
    few = tuple(item for item in items if item.task != "ego" or "number 0" in item.question)
    right = {item.qid: Reply(key=item.qid, text=item.truth) for item in few if item.task == "ego"}
    scores = Mlvu().score(few, right, "strict")
    assert scores.mean("M-Avg") == pytest.approx(1 / 7)
    assert scores.mean("all questions") == pytest.approx(1 / 13)


def test_tasks_are_named_as_their_files_are(items: tuple[Item, ...]) -> None:
    """Records of `2_needle.json` say "findNeedle"."""
    assert [item.task for item in items] == [task for task in FILES for _ in range(2)]


def test_equal_options_are_told_and_each_is_right_in_strict(folder: Path) -> None:
    """Officially the last of them only."""
    row = rows("count")[0] | {"candidates": ["2", "3", "2", "4"], "answer": "2"}
    (folder / "json" / "4_count.json").write_text(json.dumps([row]))
    loaded = Mlvu().load(folder)
    assert [problem.kind for problem in loaded.problems] == ["repaired"]
    item = next(item for item in loaded.items if item.task == "count")
    modes: tuple[Mode, ...] = ("official", "strict")
    values = [
        [Mlvu().score([item], {item.qid: Reply(key=item.qid, text=text)}, mode).marks[0].value for text in "ABCD"]
        for mode in modes
    ]
    assert values == [[0, 0, 1, 0], [1, 0, 1, 0]]


def test_equal_wrong_options_are_told_too(folder: Path) -> None:
    row = rows("count")[0] | {"candidates": ["2", "3", "3", "4"], "answer": "2"}
    (folder / "json" / "4_count.json").write_text(json.dumps([row]))
    assert [problem.kind for problem in Mlvu().load(folder).problems] == ["repaired"]


def change_first(folder: Path, task: str, **change: object) -> tuple[tuple[Item, ...], list[str]]:
    """What is made of the only record of a task, and what is said of it."""
    path = folder / "json" / f"{FILES[task][0]}.json"
    path.write_text(json.dumps([rows(task)[0] | change]))
    loaded = Mlvu(Setting(splits=("dev",))).load(folder)
    return tuple(item for item in loaded.items if item.task == task), [str(each) for each in loaded.problems]


def test_an_answer_that_is_no_option_stays_in_the_denominator_and_nobody_is_right(folder: Path) -> None:
    """Two records about a drone are like this."""
    (item,), (problem,) = change_first(folder, "needle", answer="Catching a flying drone quadcopter")
    assert problem.startswith("json/2_needle.json, record 0: has 'answer' = 'Catching a flying drone quadcopter'")
    for mode in Mlvu.modes:
        for text in "ABCDEZ":
            chances = {each: float(each == text) for each in "ABCD"}
            reply = Reply(key=item.qid, text=text, probabilities=chances)
            (mark,) = Mlvu().score([item], {item.qid: reply}, mode).marks
            assert (mark.value, mark.is_counted) == (0, True)
    for scores in Mlvu().baselines([item], "strict").values():
        assert scores.mean("needle") in (0, 0.25)


def test_an_option_without_text_may_be_the_answer(folder: Path) -> None:
    """Two records about somebody's kitchen are like this."""
    (item,), (problem,) = change_first(folder, "ego", candidates=["2", "5", "10", ""], answer="")
    assert item.truth == "D"
    assert problem.endswith("has an option without text")
    assert "(D) " in Mlvu().prompt(item, Mlvu().polls(item)[0], ()).prompt


def test_a_record_without_a_question_is_refused(folder: Path) -> None:
    """There is one without any text."""
    items, problems = change_first(folder, "topic_reasoning", question="", candidates=["", "", "", ""], answer="")
    assert items == ()
    assert problems == ["json/7_topic_reasoning.json, record 0: has 'question' = ''; expected a text"]


TEST_FILE = "test-ground-truth/test_mcq_gt.json"


def test_the_test_split_has_six_options_and_a_mean_of_its_own(folder: Path) -> None:
    loaded = Mlvu(Setting(splits=("test",))).load(folder)
    assert [(item.qid, item.truth) for item in loaded.items] == [
        (f"test/{row['question_id']}", "ABCDEF"[TEST_OPTIONS.index(row["answer"])]) for row in of_test()
    ]
    right = {item.qid: Reply(key=item.qid, text=item.truth) for item in loaded.items[:3]}
    scores = Mlvu().score(loaded.items, right, "strict")
    assert (scores.mean("test M-Avg"), scores.mean("M-Avg")) == (pytest.approx(3 / 9), None)


@pytest.mark.parametrize("name", ["test_multi_choice_tasks.json", "MLVU_Test/test_question.json", "test_question.json"])
def test_without_labels_it_is_asked_and_not_scored(folder: Path, name: str) -> None:
    (folder / TEST_FILE).unlink()
    (folder / "MLVU_Test").mkdir()
    (folder / name).write_text(json.dumps(of_test(labels=False)))
    loaded = Mlvu(Setting(splits=("test",))).load(folder)
    assert [(item.gold, item.choices) for item in loaded.items] == [(None, TEST_OPTIONS)] * 9
    assert Mlvu().score(loaded.items, {}, "strict").marks == ()


def test_a_kind_of_question_that_is_not_known_is_named(folder: Path) -> None:
    (folder / TEST_FILE).write_text(json.dumps([of_test()[0] | {"question_type": "weatherQA"}]))
    (problem,) = Mlvu(Setting(splits=("test",))).load(folder).problems
    assert "has 'question_type' = 'weatherQA'; expected one of plotQA, needleQA" in str(problem)


def test_one_split_alone_is_enough_unless_the_other_is_wanted(folder: Path) -> None:
    (folder / TEST_FILE).rename(folder / "away.json")
    assert {item.split for item in Mlvu().load(folder).items} == {"dev"}
    with pytest.raises(TaskError, match=r"there is no test-ground-truth/test_mcq_gt\.json"):
        Mlvu(Setting(splits=("test",))).load(folder)
    (folder / "away.json").rename(folder / TEST_FILE)
    shutil.rmtree(folder / "json")
    assert {item.split for item in Mlvu().load(folder).items} == {"test"}
    with pytest.raises(TaskError, match=r"there is no json/1_plotQA\.json"):
        Mlvu(Setting(splits=("dev",))).load(folder)


def test_a_task_whose_file_is_not_there_is_refused(folder: Path) -> None:
    (folder / "json" / "5_order.json").unlink()
    with pytest.raises(TaskError, match=r"there is no json/5_order\.json"):
        Mlvu().load(folder)


@pytest.mark.parametrize("letter", [True, False])
def test_a_repackaged_copy_holds_its_options_in_the_question(
    items: tuple[Item, ...], tmp_path: Path, letter: bool
) -> None:
    codes = dict(zip(FILES, ("PQA", "NQA", "ER", "AC", "AO", "AR", "TR"), strict=True))
    table: list[dict[str, Any]] = [row for task, code in codes.items() for row in copied(task, code, letter)]
    table.append({"video_name": "x.mp4", "question": "Summarise.", "answer": "A day.", "task_type": "VS"})
    (tmp_path / "mlvu_dev.json").write_text(json.dumps(table))
    loaded = Mlvu().load(tmp_path)
    facts = [(item.task, item.question, item.choices, item.truth) for item in items]
    assert [(item.task, item.question, item.choices, item.truth) for item in loaded.items] == facts
    assert {problem.kind for problem in loaded.problems} == {"missing-video"}


def test_options_that_are_letters_are_texts_first(folder: Path) -> None:
    row = rows("count")[0] | {"candidates": ["B", "A", "C"], "answer": "A"}
    (folder / "json" / "4_count.json").write_text(json.dumps([row]))
    assert [item.truth for item in Mlvu().load(folder).items if item.task == "count"] == ["B"]


def test_folders_of_videos_have_two_names(folder: Path) -> None:
    expected = {item.video for item in Mlvu().load(folder).items if item.split == "dev"}
    assert "video/1_plotQA/plotQA_0.mp4" in expected
    (folder / "video" / "3_ego").rename(folder / "video" / "ego")
    loaded = Mlvu().load(folder)
    assert loaded.problems == ()
    assert "video/ego/ego_0.mp4" in {item.video for item in loaded.items}


def test_the_hub_s_folder_can_be_given_as_a_whole(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "hub" / "MLVU")
    loaded = Mlvu(Setting(splits=("dev",))).load(tmp_path / "hub")
    assert loaded.problems == ()
    assert loaded.items[0].video == "MLVU/video/1_plotQA/plotQA_0.mp4"


@pytest.mark.parametrize("name", ["evaluation/models/videochat2/choice_bench.py", "videochat2/choice_bench.py"])
def test_the_wording_of_a_copy_is_used(items: tuple[Item, ...], tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(
        'x = infer_mvbench(1, system="Look.\\n", question_prompt="\\nOne.", answer_prompt="(")'
    )
    task = Mlvu(Setting(prompts=tmp_path))
    assert task.prompt(items[0], task.polls(items[0])[0], ()).prompt == (
        f"Look.\nQuestion: {items[0].question}\nOptions:\n(A) Blue\n(B) two (2) cups\n(C) 1->3->2\n(D) Abuse\nOne."
    )


def test_a_copy_without_wording_is_refused(items: tuple[Item, ...], tmp_path: Path) -> None:
    task = Mlvu(Setting(prompts=tmp_path))
    with pytest.raises(TaskError, match="--prompts"):
        task.prompt(items[0], task.polls(items[0])[0], ())
