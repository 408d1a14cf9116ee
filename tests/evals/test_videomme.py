"""Video-MME: its official script's traps, its two published shapes, its wording."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.errors import TaskError
from hermes_stream.evals.item import Item, Reply
from hermes_stream.evals.scores import Mode
from hermes_stream.evals.task import Setting
from hermes_stream.evals.tasks.videomme import VideoMme
from tests.evals.published import PutVideo
from tests.evals.published.videomme import rows
from tests.oracles.videomme_oracle import official_accuracy


@pytest.fixture
def items(data_of: Callable[[str], Path]) -> tuple[Item, ...]:
    return VideoMme().load(data_of("videomme")).items


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("B", "B", "B"),
        (" B", "B", "B"),
        ("B) two", "B", "B"),
        ("(B)", "B", "B"),
        ("B. blue ring.", "B", "B"),
        ("The answer is B", "B", None),
        ("The best answer is: (C).", "C", None),
        ("Answer: B", "A", None),
        ("Best option: (C)", "B", None),
        ("The best option is C", "C", None),
        ("Both are shown, C", "B", None),
        ("b", None, None),
        ("", None, None),
        ("two rings, one red, one blue, and a third one behind all of them", None, None),
        ("E", None, None),
        ("Ah, D", "A", None),
    ],
)
def test_how_replies_are_read(items: tuple[Item, ...], reply: str, official: str | None, strict: str | None) -> None:
    assert VideoMme().official_letter(items[0], reply) == official
    scores = VideoMme().score(items[:1], {items[0].qid: Reply(key=items[0].qid, text=reply)}, "strict")
    assert scores.marks[0].value == (strict == items[0].truth)
    assert scores.marks[0].is_parsed == (strict is not None)


def test_official_numbers_are_those_of_the_script(items: tuple[Item, ...]) -> None:
    """Against a slow reading of it: what it cannot parse has not been answered."""
    said = ["B", "Answer: B", "", "The answer is D", "c", "Best option: (C)", "A", "D. D", "none of them"]
    replies = {item.qid: Reply(key=item.qid, text=text) for item, text in zip(items, said, strict=True)}
    scores = VideoMme().score(items, replies, "official")
    answered = [(row, replies[row["question_id"]].text) for row in rows()]
    for length in ("short", "medium", "long"):
        part = [(row, text) for row, text in answered if row["duration"] == length]
        assert scores.mean(length) == pytest.approx(official_accuracy(part) / 100)
    assert scores.mean("overall") == pytest.approx(official_accuracy(answered) / 100)
    for task in ("Counting Problem", "Object Recognition"):
        part = [(row, text) for row, text in answered if row["task_type"] == task]
        assert scores.mean(task) == pytest.approx(official_accuracy(part) / 100)
    assert scores.n_unparsed == 3


def test_the_same_replies_lose_nothing_in_strict_mode(items: tuple[Item, ...]) -> None:
    replies = {item.qid: Reply(key=item.qid, text="no idea") for item in items}
    counted = {
        mode: sum(mark.is_counted for mark in VideoMme().score(items, replies, mode).marks)
        for mode in ("official", "strict")
    }
    assert counted == {"official": 0, "strict": 9}


def test_logits_are_the_most_probable_letter(items: tuple[Item, ...]) -> None:
    chances = {"A": 0.2, "B": 0.5, "C": 0.2, "D": 0.1}
    mode: Mode = "logits"
    replies = {item.qid: Reply(key=item.qid, text="C", probabilities=chances) for item in items}
    scores = VideoMme().score(items, replies, mode)
    assert [mark.value for mark in scores.marks] == [float(item.truth == "B") for item in items]


def test_an_option_keeps_its_text_and_loses_its_letter_alone(items: tuple[Item, ...]) -> None:
    assert items[0].choices == ("red ring.", "blue ring.", "two.", "C. Grant.")
    assert VideoMme().prompt(items[0], VideoMme().polls(items[0])[0], ()).prompt.count("(D) C. Grant.") == 1


def test_everything_is_asked_after_the_video(items: tuple[Item, ...]) -> None:
    assert {item.ask_seconds for item in items} == {float("inf")}


def test_the_template_of_the_repository_is_read_too(tmp_path: Path, put_video: PutVideo) -> None:
    table = [row for row in rows() if row["duration"] == "short"]
    nested = [
        {
            "video_id": "901",
            "duration_category": "short",
            "video_category": "Knowledge",
            "video_subcategory": "Geography",
            "questions": [
                {"question_id": row["question_id"], "task_type": row["task_type"], "question": row["question"],
                 "choices": row["options"], "answer": row["answer"], "response": "C"}
                for row in table
            ],
        }
    ]  # fmt: skip
    nested[0]["questions"].append({"question_id": "901-4", "task_type": "x", "question": "What?", "choices": ["A. a"]})
    (tmp_path / "output_test_template.json").write_text(json.dumps(nested))
    put_video(tmp_path / "videos" / "901.mkv")
    loaded = VideoMme().load(tmp_path)
    assert [(item.qid, item.truth, item.split) for item in loaded.items] == [
        (row["question_id"], row["answer"], "short") for row in table
    ]
    assert {item.video for item in loaded.items} == {"videos/901.mkv"}
    (problem,) = loaded.problems
    assert str(problem).startswith("output_test_template.json, record 0, questions 3: has 'choices'")


def test_lines_of_json_are_a_table_as_well(data_of: Callable[[str], Path]) -> None:
    folder = data_of("videomme")
    expected = VideoMme().load(folder).items
    table = folder / "videomme" / "test.json"
    table.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    table.unlink()
    assert VideoMme().load(folder).items == expected


README = """# A set
```
licence
```
The prompt:
```text
Here are subtitles:
[Subtitles]
Choose one, say its letter.
[Question]
Your choice:
```
"""


def test_the_wording_of_a_copy_is_used_and_named(items: tuple[Item, ...], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    task = VideoMme(Setting(prompts=tmp_path))
    (ask,) = task.polls(items[0])
    query = task.prompt(items[0], ask, ())
    assert query.prompt == (
        "Choose one, say its letter.\nWhat is number 0 of 901?\nA. red ring.\nB. blue ring.\nC. two.\n"
        "D. C. Grant.\nYour choice:"
    )
    assert query.answer_start == ""
    assert (task.prompt_label, VideoMme().prompt_label) == ("videomme-official", "own-prompt")


@pytest.mark.parametrize("readme", [None, "# Nothing here"])
def test_a_copy_without_the_wording_is_refused(items: tuple[Item, ...], tmp_path: Path, readme: str | None) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    task = VideoMme(Setting(prompts=tmp_path))
    with pytest.raises(TaskError, match="--prompts"):
        task.prompt(items[0], task.polls(items[0])[0], ())


def test_a_length_and_an_answer_that_cannot_be_are_named(data_of: Callable[[str], Path]) -> None:
    folder = data_of("videomme")
    changed = rows()
    changed[0]["duration"], changed[4]["answer"] = "endless", "F"
    (folder / "videomme" / "test.json").write_text(json.dumps(changed))
    loaded = VideoMme().load(folder)
    assert [str(problem).partition(": ")[2][:24] for problem in loaded.problems] == [
        "has the length 'endless'", "has 'answer' = 'F'; expe",
    ]  # fmt: skip
    assert len(loaded.items) == 7


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "\xff\xfe"])
def test_what_is_no_list_of_records_is_refused(data_of: Callable[[str], Path], content: str) -> None:
    folder = data_of("videomme")
    (folder / "videomme" / "test.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(TaskError, match=r"test\.json") as caught:
        VideoMme().load(folder)
    assert "\n" not in str(caught.value)


def test_a_table_in_parquet_needs_its_reader(data_of: Callable[[str], Path]) -> None:
    """pyarrow is nothing that this project installs."""
    folder = data_of("videomme")
    shutil.move(folder / "videomme" / "test.json", folder / "videomme" / "test-0.parquet")
    with pytest.raises(TaskError, match="install pyarrow"):
        VideoMme().load(folder)
