"""LongVideoBench, validation, without subtitles: four lengths of video, 17 kinds of question, up to five options.

Files: `lvb_val.json` of the hub's data set, or its table. Official is the reading of lmms-eval
(`tasks/longvideobench/utils.py`), which its authors point to; they publish none of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from string import ascii_uppercase
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask, letters
from hermes_stream.evals.item import Ask, Gold, Item, Reply
from hermes_stream.evals.scores import Average, Mode, Scores
from hermes_stream.evals.wording import python_constant

_TABLES = ("lvb_val.json", "validation*.parquet", "data/validation*.parquet", "*val*.json*")
_OFFICIAL_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
_OFFICIAL_LETTER = re.compile("[ABCDE]")
_OPTIONS = tuple(f"option{index}" for index in range(5))
_NO_OPTION = "N/A"
# Which frames the question is about: an evaluation's to know.
_EVIDENCE = ("position",)
_KNOWN = (
    "id", "question", "candidates", *_OPTIONS, "correct_choice", "video_path", "duration_group", "question_category",
    *_EVIDENCE,
)  # fmt: skip
_SUBTITLES, _PICTURES = "of subtitles", "of pictures"
_DATASET = "longvideobench/longvideobench_dataset.py"


class LongVideoBench(ChoiceTask):
    """See the module. Kinds of question that begin with T refer to what subtitles say, which is not shown here."""

    name: ClassVar[str] = "longvideobench"
    title: ClassVar[str] = "LongVideoBench"
    hub_id: ClassVar[str | None] = "longvideobench/LongVideoBench"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    splits: ClassVar[tuple[str, ...]] = ("15", "60", "600", "3600")
    metric: ClassVar[str] = "accuracy without subtitles, total and by length in seconds"
    files: ClassVar[str] = "lvb_val.json (or validation*.parquet), and the unpacked videos in videos/"
    averages: ClassVar[tuple[Average, ...]] = (
        *(Average(length, (length,)) for length in ("15", "60", "600", "3600")),
        Average("overall", ("15", "60", "600", "3600")),
        Average("questions of subtitles", (_SUBTITLES,), is_apart=True),
        Average("questions of pictures", (_PICTURES,), is_apart=True),
    )

    def read(self, annotations: Annotations) -> Iterable[Item]:
        for path in annotations.find(*_TABLES):
            for item in annotations.make(annotations.records(path), partial(self._items, annotations)):
                if item.split in self.wanted_splits:
                    yield item

    def official_letter(self, item: Item, reply: str) -> str | None:  # noqa: ARG002
        """The first capital A to E once some openings are taken away: "Answer: B" is A.

        Where there is none the script draws a letter at random; here the reply is wrong. See `score` for its numbers.
        """
        text = reply.strip()
        for prefix in _OFFICIAL_PREFIXES:
            text = text.replace(prefix, "")
        found = _OFFICIAL_LETTER.search(text)
        return found[0] if found else None

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """As the data set's own loader puts it, without subtitles."""
        assert self.setting.prompts is not None
        opening = python_constant(self.setting.prompts, _DATASET, "Question")
        closing = python_constant(self.setting.prompts, _DATASET, "option's letter")
        options = [f"{letter}. {text}" for letter, text in zip(letters(item), item.choices, strict=True)]
        return "\n".join([opening + item.question, *options, closing])

    def groups(self, item: Item) -> tuple[str, ...]:
        return (item.split, _SUBTITLES if item.task.startswith("T") else _PICTURES)

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        """extras: what the official script prints in the mean, as it guesses where it can read nothing; per cent."""
        scores = super().score(items, replies, mode)
        return replace(scores, extras=_with_guesses(items, scores)) if mode == "official" and scores.marks else scores

    def _items(self, annotations: Annotations, record: Record) -> Iterable[Item]:
        length = record.text("duration_group")
        if length not in self.splits:
            raise record.malformed(f"has 'duration_group' = {length!r}; expected {', '.join(self.splits)}")
        options, right = _options(record), record.integer("correct_choice")
        if not 0 <= right < len(options):
            raise record.malformed(f"has 'correct_choice' = {right}; expected the index of an option")
        yield Item(
            bench=self.name,
            split=length,
            qid=record.text("id"),
            video=annotations.video(f"videos/{record.text('video_path')}", record.text("video_path")),
            task=record.text("question_category"),
            question=record.text("question"),
            choices=tuple(options),
            gold=Gold("letter", ascii_uppercase[right], {name: record.get(name) for name in _EVIDENCE}),
            meta=record.rest(*_KNOWN),
        )


def _options(record: Record) -> list[str]:
    """The table has five fields, of which the last may say that there is none."""
    if record.has("candidates"):
        return record.texts("candidates", at_least=2)
    options = [record.text(name) for name in _OPTIONS if record.has(name)]
    options = [option for option in options if option != _NO_OPTION]
    if len(options) < 2:
        raise record.malformed("has no 'candidates' and fewer than two options")
    return options


def _with_guesses(items: Sequence[Item], scores: Scores) -> dict[str, float]:
    n_options = {item.qid: len(item.choices) for item in items}
    values = [
        1 / n_options[mark.key] if mark.is_answered and not mark.is_parsed else mark.value for mark in scores.marks
    ]
    return {"overall, unread replies guessed": 100 * sum(values) / len(values)}
