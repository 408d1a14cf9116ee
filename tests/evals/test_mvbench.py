"""MVBench: its notebook's traps, its files of four kinds, its two editions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import END, Item, Reply
from hermes_stream.evals.task import Setting
from hermes_stream.evals.tasks.mvbench import MvBench
from hermes_stream.video import open_pictures, open_video
from tests.evals.published.mvbench import PICTURES, PLACES, rows
from tests.evals.replies import replies
from tests.oracles.mvbench_oracle import is_right, official_accuracies

ROWS = [(task, row) for task in PLACES for row in rows(task)]


@pytest.fixture
def folder(data_of: Callable[[str], Path]) -> Path:
    return data_of("mvbench")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Item, ...]:
    """As published, without the videos."""
    folder = tmp_path_factory.mktemp("mvbench")
    (folder / "json").mkdir()
    for task in PLACES:
        (folder / "json" / f"{task}.json").write_text(json.dumps(rows(task)))
    return tuple(sorted(MvBench().load(folder).items, key=lambda item: list(PLACES).index(item.split)))


def said(items: tuple[Item, ...], texts: list[str]) -> dict[str, Reply]:
    return {item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, texts, strict=True)}


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", True, True),
        ("b", True, False),
        ("(B) He runs.", True, True),
        ("B) He runs.", True, True),
        (" B.", True, True),
        ("B. He runs.", True, True),
        ("B: He runs.", False, True),
        ("Answer: B", False, False),
        ("He runs.", False, False),
        ("A", False, False),
        ("B\nbecause A", True, True),
        ("", True, False),
        (".", True, False),
        ("...\n", True, False),
        ("(A)(B)", True, False),
        ("F", False, False),
        (")", False, False),
    ],
)
def test_how_replies_are_read(items: tuple[Item, ...], reply: str, official: bool, strict: bool) -> None:
    """The gold is B. Nothing at all is always right officially."""
    item = items[1]
    assert item.truth == "B"
    for mode, expected in (("official", official), ("strict", strict)):
        scores = MvBench().score([item], {item.qid: Reply(key=item.qid, text=reply)}, mode)  # type: ignore[arg-type]
        assert (scores.marks[0].value == 1) == expected, mode


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_official_numbers_are_those_of_the_notebook(items: tuple[Item, ...], data: st.DataObject) -> None:
    texts = data.draw(st.lists(replies("(B) ", "Nothing. Really"), min_size=len(items), max_size=len(items)))
    scores = MvBench().score(items, said(items, texts), "official")
    answered = [(item.task, row, text) for item, (_, row), text in zip(items, ROWS, texts, strict=True)]
    expected = official_accuracies(answered)
    for task in {item.task for item in items}:
        assert scores.mean(task) == pytest.approx(expected[task] / 100)
    assert scores.mean("all questions") == pytest.approx(expected["Avg"] / 100)
    of_tasks = [value for task, value in expected.items() if task != "Avg"]
    assert scores.mean("average") == pytest.approx(sum(of_tasks) / len(of_tasks) / 100)


@given(replies("(C)", "c."))
def test_each_reply_is_right_where_the_notebook_says_so(items: tuple[Item, ...], reply: str) -> None:
    for item, (_, row) in zip(items, ROWS, strict=True):
        assert (MvBench().official_letter(item, reply) == item.truth) == is_right(row, reply)


def test_empty_replies_stay_in_every_denominator(items: tuple[Item, ...]) -> None:
    """A common runner drops them."""
    for mode, value in (("official", 1.0), ("strict", 0.0)):
        scores = MvBench().score(items, said(items, [""] * len(items)), mode)  # type: ignore[arg-type]
        assert all(mark.is_counted for mark in scores.marks)
        assert scores.mean("average") == value


def test_the_answer_is_a_text_and_options_are_two_to_five(items: tuple[Item, ...]) -> None:
    for item, (_, row) in zip(items, ROWS, strict=True):
        assert item.choices["ABCDE".index(item.truth)] == row["answer"]
    assert {len(item.choices) for item in items} == {2, 3, 4, 5}


def test_parts_of_videos_are_watched_and_no_evidence_is_told(items: tuple[Item, ...]) -> None:
    for item, (_, row) in zip(items, ROWS, strict=True):
        assert item.clip == ((row["start"], row["end"]) if "start" in row else (0.0, END))
        assert not {"accurate_start", "accurate_end", "start", "answer"} & item.meta.keys()
        assert item.gold is not None
        assert item.gold.facts == ({"accurate_start": 2.0, "accurate_end": 3.25} if "start" in row else {})


def test_every_kind_of_file_can_be_watched(folder: Path) -> None:
    loaded = MvBench().load(folder)
    seen = set()
    for item in loaded.items:
        path = folder / item.video
        if item.frame_rate is None:
            with open_video(path, fps=2) as video:
                n_frames, last = 0, 0.0
                for frame in video:
                    n_frames, last = n_frames + 1, frame.pts_seconds
            assert n_frames >= 8, path
            assert last == pytest.approx(7.5, abs=0.6), path
        else:
            with open_pictures(path, item.frame_rate) as pictures:
                times = [frame.pts_seconds for frame in pictures]
            assert times == pytest.approx([index / 3 for index in range(24)])
        seen.add(path.suffix)
    assert seen == {".mp4", ".webm", ".gif", ""}


def test_pictures_have_the_rate_of_their_record(folder: Path) -> None:
    path = folder / "json" / "episodic_reasoning.json"
    row = rows("episodic_reasoning")[0]
    for change, rate in (({"fps": 2}, 2.0), ({"fps": None}, 3.0)):
        path.write_text(json.dumps([row | change]))
        (item,) = MvBench(Setting(splits=("episodic_reasoning",))).load(folder).items
        assert (item.video, item.frame_rate) == (f"video/tvqa/frames_fps3_hq/{PICTURES}", rate)


def test_videos_that_were_cut_already_are_watched_whole(folder: Path) -> None:
    shutil.move(folder / "video/star/Charades_v1_480", folder / "video/star/Charades_segment")
    items = MvBench(Setting(splits=("action_sequence",))).load(folder).items
    assert {item.video for item in items} == {"video/star/Charades_segment/x_1.mp4"}
    assert {item.clip for item in items} == {(0.0, END)}


def test_a_missing_folder_of_pictures_is_named_as_one(folder: Path) -> None:
    shutil.rmtree(folder / "video/tvqa")
    loaded = MvBench().load(folder)
    assert loaded.missing_videos == {f"video/tvqa/frames_fps3_hq/{PICTURES}"}


def change_first(folder: Path, **change: object) -> MvBench:
    (folder / "json" / "action_sequence.json").write_text(json.dumps([rows("action_sequence")[0] | change]))
    return MvBench(Setting(splits=("action_sequence",)))


def test_equal_options_are_told_and_each_is_right_in_strict(folder: Path) -> None:
    """Officially the last of them only."""
    task = change_first(folder, candidates=["one", "two", "one"], answer="one")
    (item,), (problem,) = (loaded := task.load(folder)).items, loaded.problems
    assert problem.kind == "repaired"
    assert "equal options" in str(problem)
    values = {
        (mode, text): task.score([item], {item.qid: Reply(key=item.qid, text=text)}, mode).marks[0].value
        for mode in ("official", "strict")
        for text in "ABC"
    }
    assert [key for key, value in values.items() if value] == [("official", "C"), ("strict", "A"), ("strict", "C")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": ["He sits."]}, "expected a list of 2 texts or more"),
        ({"answer": None}, "has no 'answer'"),
        ({"answer": ["He runs."]}, "expected a text"),
        ({"start": 6.0}, "expected a part of a video"),
        ({"end": None}, "has no 'end'"),
    ],
)
def test_records_that_cannot_be_used_are_named(folder: Path, change: dict[str, object], message: str) -> None:
    loaded = change_first(folder, **change).load(folder)
    (problem,) = loaded.problems
    assert loaded.items == ()
    assert str(problem).startswith("json/action_sequence.json, record 0: ")
    assert message in str(problem)


def test_an_answer_that_is_no_option_is_told_and_stays_in_the_denominator(folder: Path) -> None:
    """The script gives it the letter before A."""
    task = change_first(folder, answer="He flies.")
    (item,), (problem,) = (loaded := task.load(folder)).items, loaded.problems
    assert (problem.kind, problem.is_loss) == ("repaired", False)
    assert "is none of its options: no reply is right" in str(problem)
    said = {text: Reply(key=item.qid, text=text) for text in ("A", "E", "", "no")}
    for text, reply in said.items():
        assert task.score([item], {item.qid: reply}, "strict").marks[0].value == 0
        row = rows("action_sequence")[0] | {"answer": "He flies."}
        assert task.score([item], {item.qid: reply}, "official").marks[0].value == is_right(row, text)


def test_an_answer_with_space_around_it_is_understood(folder: Path) -> None:
    loaded = change_first(folder, answer=" He runs. ").load(folder)
    assert [item.truth for item in loaded.items] == ["B"]
    assert [problem.kind for problem in loaded.problems] == ["repaired"]


def test_a_task_whose_file_is_not_there_is_refused(folder: Path) -> None:
    (folder / "json" / "moving_count.json").unlink()
    with pytest.raises(TaskError, match=r"there is no json/moving_count\.json"):
        MvBench().load(folder)
    assert MvBench(Setting(splits=("action_count",))).load(folder).items


def test_the_wording_of_the_notebook_is_used(items: tuple[Item, ...], tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# infer_mvbench(system='no')"]},
        {
            "cell_type": "code",
            "source": ["%load_ext autoreload\n", "def infer_mvbench(sample, system=''):\n", "    pass"],
        },
        {"cell_type": "code", "source": ["infer_mvbench(1, system='Watch.\\n', question_prompt='\\nJust one.', n=3)"]},
    ]
    (tmp_path / "video_chat2").mkdir()
    (tmp_path / "video_chat2" / "mvbench.ipynb").write_text(json.dumps({"cells": cells}))
    task = MvBench(Setting(prompts=tmp_path))
    item = next(item for item in items if len(item.choices) == 2)
    assert task.prompt(item, task.polls(item)[0], ()).prompt == (
        f"Watch.\nQuestion: {item.question}\nOptions:\n(A) He sits.\n(B) He runs.\nJust one."
    )


@pytest.mark.parametrize("content", [None, "{}", '{"cells": []}', "def f(:"])
def test_a_copy_without_the_notebook_is_refused(items: tuple[Item, ...], tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "video_chat2").mkdir()
        (tmp_path / "video_chat2" / "mvbench.ipynb").write_text(content)
    task = MvBench(Setting(prompts=tmp_path))
    with pytest.raises(TaskError, match="--prompts"):
        task.prompt(items[0], task.polls(items[0])[0], ())
