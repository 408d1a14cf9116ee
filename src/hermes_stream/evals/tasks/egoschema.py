"""EgoSchema: five options after three minutes of somebody's day; 5,031 videos, one question each, 500 with a label.

Files: the tables of the hub's data set, `Subset` (labelled) and `MC` (all), or `questions.json` and
`subset_answers.json` of the repository. Official: answers are indices that a server scores; how a reply becomes one is
up to the runner, here that of lmms-eval (`tasks/egoschema/utils.py`), which the hub's tables were made for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any, ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask
from hermes_stream.evals.extraction import without_letter
from hermes_stream.evals.item import Ask, Gold, Item, Reply
from hermes_stream.evals.scores import Average, Mode
from hermes_stream.evals.wording import python_constant

_N_CHOICES = 5
_TABLES: tuple[tuple[str, ...], ...] = (
    ("Subset/*.parquet", "Subset/*.json*"),
    ("MC/*.parquet", "MC/*.json*", "MC_PPL/*.parquet", "MC_PPL/*.json*"),
)
_QUESTIONS, _LABELS = "questions.json", "subset_answers.json"
_KNOWN = (
    "question_idx", "video_idx", "question", "option", "answer", "q_uid", "google_drive_id",
    *(f"option {index}" for index in range(_N_CHOICES)),
)  # fmt: skip
_WEARER = "C "
_WORDING = "option's letter"


class EgoSchema(ChoiceTask):
    """See the module. An item's id is that of its video, as in a submission."""

    name: ClassVar[str] = "egoschema"
    title: ClassVar[str] = "EgoSchema"
    hub_id: ClassVar[str | None] = "lmms-lab/egoschema"
    licence: ClassVar[str] = "of Ego4D for the videos; see the data set's card"
    splits: ClassVar[tuple[str, ...]] = ("subset", "unlabelled")
    metric: ClassVar[str] = "accuracy on the 500 labelled questions"
    files: ClassVar[str] = "Subset/*.parquet and MC/*.parquet (or their rows as JSON), or questions.json; videos/ID.mp4"
    averages: ClassVar[tuple[Average, ...]] = (Average("overall", ("subset",)),)

    def read(self, annotations: Annotations) -> Iterable[Item]:
        """Of a question that has a label in one table and none in another, the labelled record is used."""
        known: set[str] = set()
        for path, labels in self._files(annotations):
            items = list(annotations.make(annotations.records(path), partial(self._items, annotations, labels)))
            yield from (item for item in items if item.qid not in known and item.split in self.wanted_splits)
            known.update(item.qid for item in items)

    def official_letter(self, item: Item, reply: str) -> str | None:
        """That of the option that the reply is, letter for letter: with its letter, its first sentence, or its letter.

        Nothing is taken away from a reply, no space and no full stop, and an option without a letter has none to name.
        """
        options = [option if option.endswith(".") else option + "." for option in item.meta["options"]]
        parts = [option.split(". ") if ". " in option else [option, option] for option in options]
        readings = (
            [[option] for option in options],
            [[part[1]] for part in parts],
            [[part[0], part[0].replace(".", "")] for part in parts],
        )
        for accepted in readings:
            for index, texts in enumerate(accepted):
                if reply in texts:
                    return ascii_uppercase[index]
        return None

    def answer_in(self, item: Item, reply: Reply, mode: Mode) -> str | None:
        """Strictly too, "C washes it" names nobody's option: C is how the set calls whoever wears the camera."""
        text = reply.text.strip()
        if mode == "strict" and text.startswith(_WEARER) and not text.startswith(_WEARER + item.choices[2].rstrip(".")):
            return None
        return super().answer_in(item, reply, mode)

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """Question and options as they are, and the closing line of a copy of lmms-eval."""
        assert self.setting.prompts is not None
        closing = python_constant(self.setting.prompts, "lmms_eval/tasks/egoschema/utils.py", _WORDING)
        return "\n".join([item.question, *item.meta["options"]]) + closing

    def _files(self, annotations: Annotations) -> Iterable[tuple[Path, Mapping[str, Any]]]:
        """What is to be read, the labelled first, each with labels that stand elsewhere."""
        if annotations.has(_QUESTIONS):
            labels = annotations.mapping(annotations.data / _LABELS) if annotations.has(_LABELS) else {}
            return [(annotations.data / _QUESTIONS, labels)]
        there = [patterns for patterns in _TABLES if any(annotations.has(pattern) for pattern in patterns)]
        wanted = there or [(*(pattern for patterns in _TABLES for pattern in patterns), _QUESTIONS)]
        return [(path, {}) for patterns in wanted for path in annotations.find(*patterns)]

    def _items(self, annotations: Annotations, labels: Mapping[str, Any], record: Record) -> Iterable[Item]:
        uid = record.text("q_uid" if record.has("q_uid") else "video_idx")
        options = _options(record)
        label = _label(record, labels.get(uid, record.get("answer")))
        yield Item(
            bench=self.name,
            split="unlabelled" if label is None else "subset",
            qid=uid,
            video=annotations.video(f"videos/{uid}", uid),
            task="all",
            question=record.text("question"),
            choices=tuple(without_letter(option, index) for index, option in enumerate(options)),
            gold=None if label is None else Gold("letter", label),
            meta=record.rest(*_KNOWN) | {"options": options},
        )


def _options(record: Record) -> list[str]:
    if record.has("option 0"):
        return [record.text(f"option {index}") for index in range(_N_CHOICES)]
    return record.texts("option", at_least=_N_CHOICES)[:_N_CHOICES]


def _label(record: Record, value: Any) -> str | None:
    """An index, as a number or a text; None where it is held back."""
    if value in (None, "", "None", -1, "-1"):
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text) >= _N_CHOICES:
        raise record.malformed(f"has 'answer' = {value!r}; expected the index of an option, 0 to {_N_CHOICES - 1}")
    return ascii_uppercase[int(text)]
