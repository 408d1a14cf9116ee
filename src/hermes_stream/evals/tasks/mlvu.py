"""MLVU, questions with options: seven tasks about videos of minutes to hours (dev), and those of the test split.

Files: `json/` and `video/` of the hub's data set; the table of a repackaged copy, whose questions hold the options; the
test split's list, with labels or without. Official: `evaluation/multiple_choice_evaluation/choice_bench.py` of the
repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from string import ascii_uppercase
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask, letters
from hermes_stream.evals.item import Ask, Gold, Item, Reply
from hermes_stream.evals.option_texts import bracketed, gold_of_equals, letter_of_text
from hermes_stream.evals.scores import Average, Mode
from hermes_stream.evals.short_ids import short_id
from hermes_stream.evals.wording import call_texts

_TASKS = ("plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning")
_FILES = {task: f"{number}_{task}" for number, task in enumerate(_TASKS, start=1)}
_CODES = {
    "PQA": "plotQA", "NQA": "needle", "ER": "ego", "AC": "count", "AO": "order", "AR": "anomaly_reco",
    "TR": "topic_reasoning",
}  # fmt: skip
_ROOTS = ("", "MLVU/")
_COPIES = ("*dev*.parquet", "data/*dev*.parquet", "*dev*.json*", "data/test*.parquet")
_TESTS = (
    "test-ground-truth/test_mcq_gt.json", "test_mcq_gt.json", "test_multi_choice_tasks.json",
    "MLVU_Test/test_question.json", "test_question.json",
)  # fmt: skip
_TEST_TASKS = (
    "plotQA", "needleQA", "ego", "count", "order", "anomaly_reco", "topic_reasoning", "tutorialQA", "sportsQA",
)  # fmt: skip
_KNOWN = ("video", "video_name", "question", "candidates", "answer", "question_type", "task_type", "question_id")
_OPTION_LINE = re.compile(r"\(([A-Z])\)\s*(.*)")
_WORDING = "evaluation/models/videochat2/choice_bench.py", "videochat2/choice_bench.py"


class Mlvu(ChoiceTask):
    """See the module. Tasks are named as their files are: a record's own `question_type` differs."""

    name: ClassVar[str] = "mlvu"
    title: ClassVar[str] = "MLVU"
    hub_id: ClassVar[str | None] = "MLVU/MVLU"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0, research only"
    splits: ClassVar[tuple[str, ...]] = ("dev", "test")
    metric: ClassVar[str] = "M-Avg: mean of the seven tasks of dev, of the nine of test"
    files: ClassVar[str] = "json/1_plotQA.json to json/7_topic_reasoning.json and video/1_plotQA/... (dev)"
    averages: ClassVar[tuple[Average, ...]] = (
        Average("M-Avg", _TASKS, "even"),
        Average("all questions", ("dev",)),
        Average("test M-Avg", tuple(f"test {task}" for task in _TEST_TASKS), "even"),
    )

    def read(self, annotations: Annotations) -> Iterable[Item]:
        """A split that is not there is read past, unless it was asked for, or neither is."""
        is_test = any(annotations.has(pattern) for pattern in _TESTS)
        if "dev" in self.wanted_splits and (self.setting.splits or not is_test or _has_dev(annotations)):
            yield from self._dev(annotations)
        if "test" in self.wanted_splits and (self.setting.splits or is_test):
            for path in annotations.find(*_TESTS):
                yield from annotations.make(annotations.records(path), partial(self._test_items, annotations))

    def official_letter(self, item: Item, reply: str) -> str | None:
        """A reply that is a letter, or the character before its first closing bracket: "B." is nothing."""
        text = reply.strip()
        before, bracket, _ = text.partition(")")
        said = before[-1:] if bracket else text
        return said if said in letters(item) else None

    def answer_in(self, item: Item, reply: Reply, mode: Mode) -> str | None:
        answer = super().answer_in(item, reply, mode)
        return answer if mode == "official" else gold_of_equals(item, answer)

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """What the copy's example of a model puts around question and options."""
        assert self.setting.prompts is not None
        name = next((each for each in _WORDING if (self.setting.prompts / each).exists()), _WORDING[0])
        texts = call_texts(self.setting.prompts, name, "infer_mvbench")
        return texts.get("system", "") + bracketed(item) + texts.get("question_prompt", "")

    def _dev(self, annotations: Annotations) -> Iterable[Item]:
        if not _has_dev_files(annotations) and any(annotations.has(pattern) for pattern in _COPIES):
            for path in annotations.find(*_COPIES):
                yield from annotations.make(annotations.records(path), partial(self._copied_items, annotations))
            return
        for task in _TASKS:
            for path in annotations.find(*_places(task)):
                yield from annotations.make(annotations.records(path), partial(self._dev_items, annotations, task))

    def _dev_items(self, annotations: Annotations, task: str, record: Record) -> Iterable[Item]:
        video = record.text("video")
        folders = [f"{root}video/{name}/{video}" for root in _ROOTS for name in (_FILES[task], task)]
        yield self._item(annotations, record, task, folders, record.text("question"), _candidates(record))

    def _copied_items(self, annotations: Annotations, record: Record) -> Iterable[Item]:
        code, video = record.text("task_type"), record.text("video_name")
        if code not in _CODES and code not in _TASKS:
            return  # tasks without options are in the same table
        task = _CODES.get(code, code)
        question, options = _without_options(record.text("question"))
        options = _candidates(record) if record.has("candidates") else options
        if len(options) < 2:
            raise record.malformed("has neither 'candidates' nor options in its question")
        folders = [video, f"video/{video}", f"video/{_FILES[task]}/{video}"]
        yield self._item(annotations, record, task, folders, question, options)

    def _test_items(self, annotations: Annotations, record: Record) -> Iterable[Item]:
        video, task = record.text("video"), record.text("question_type")
        if task not in _TEST_TASKS:
            raise record.malformed(f"has 'question_type' = {task!r}; expected one of {', '.join(_TEST_TASKS)}")
        folders = [f"video/{video}", f"MLVU_Test/video/{video}", video]
        options = _candidates(record)
        yield self._item(annotations, record, task, folders, record.text("question"), options, split="test")

    def _item(
        self, annotations: Annotations, record: Record, task: str, places: list[str], question: str,
        options: list[str], split: str = "dev",
    ) -> Item:  # fmt: skip
        """Without a label where the file of the test split has none."""
        is_labelled = split == "dev" or record.has("answer")
        name = record.get("video", record.get("video_name"))
        return Item(
            bench=self.name,
            split=split,
            qid=f"test/{record.text('question_id')}" if split == "test" else short_id(task, name, question, *options),
            video=annotations.video(*places),
            task=task if split == "dev" else f"test {task}",
            question=question,
            choices=tuple(options),
            gold=Gold("letter", _letter(annotations, record, options)) if is_labelled else None,
            meta=record.rest(*_KNOWN),
        )


def _places(task: str) -> tuple[str, ...]:
    return tuple(f"{root}{folder}{_FILES[task]}.json" for root in _ROOTS for folder in ("json/", "data/", ""))


def _has_dev_files(annotations: Annotations) -> bool:
    return any(annotations.has(place) for task in _TASKS for place in _places(task))


def _has_dev(annotations: Annotations) -> bool:
    return _has_dev_files(annotations) or any(annotations.has(pattern) for pattern in _COPIES)


def _candidates(record: Record) -> list[str]:
    return record.texts("candidates", at_least=2)


def _letter(annotations: Annotations, record: Record, options: list[str]) -> str:
    """The answer is a text; in repackaged copies it may be a letter."""
    answer = record.get("answer")
    is_letter = answer not in options and answer in tuple(ascii_uppercase[: len(options)])
    return str(answer) if is_letter else letter_of_text(annotations, record, options)


def _without_options(question: str) -> tuple[str, list[str]]:
    """A question and the options that stand in lines of their own at its end, as "(A) yes"."""
    lines = question.rstrip().split("\n")
    options: list[str] = []
    while len(lines) > 1 and (found := _OPTION_LINE.fullmatch(lines[-1].strip())):
        options.insert(0, found[2])
        lines.pop()
    return "\n".join(lines).rstrip(), options
