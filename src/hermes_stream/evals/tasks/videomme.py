"""Video-MME, without subtitles: four options, asked after the video; 900 videos of three lengths, three questions each.

Files: the table of the hub's data set (Parquet, or the same rows as JSON), or the nested JSON of the repository's
evaluation template. Official scoring is `evaluation/eval_your_results.py` of the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask
from hermes_stream.evals.extraction import strict_letter, without_letter
from hermes_stream.evals.item import Ask, Gold, Item
from hermes_stream.evals.scores import Average
from hermes_stream.evals.wording import fenced_block, official_text

# Two commas are missing in the script's list, so that its last two entries are what no reply ever holds.
_OFFICIAL_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is" + "The correct option is",
    "Best answer:" + "Best option:",
)
_OFFICIAL_LETTER = re.compile("[ABCD]")
_TABLES = (
    "videomme/*.parquet",
    "*.parquet",
    "videomme/*.json*",
    "*test*.json*",
    "*.json*",
)
_KNOWN = (
    "question_id", "question", "options", "choices", "answer", "response", "duration", "task_type", "domain",
    "sub_category", "video_id", "videoID", "questions",
)  # fmt: skip
_N_CHOICES = 4


class VideoMme(ChoiceTask):
    """See the module."""

    name: ClassVar[str] = "videomme"
    title: ClassVar[str] = "Video-MME"
    hub_id: ClassVar[str | None] = "lmms-lab/Video-MME"
    licence: ClassVar[str] = "academic research only; see the data set's card"
    splits: ClassVar[tuple[str, ...]] = ("short", "medium", "long")
    metric: ClassVar[str] = "accuracy, total and by length"
    files: ClassVar[str] = "videomme/*.parquet (or its rows as *.json, *.jsonl) and videos as data/ID.mp4"
    averages: ClassVar[tuple[Average, ...]] = (
        Average("short", ("short",)),
        Average("medium", ("medium",)),
        Average("long", ("long",)),
        Average("overall", ("short", "medium", "long")),
    )
    official_drops_unparsed: ClassVar[bool] = True

    def read(self, annotations: Annotations) -> Iterable[Item]:
        for path in annotations.find(*_TABLES):
            records = annotations.records(path)
            for item in annotations.make(records, lambda record: self._items(annotations, record)):
                if item.split in self.wanted_splits:
                    yield item

    def official_letter(self, item: Item, reply: str) -> str | None:  # noqa: ARG002
        """The first capital A to D once some openings are taken away: "Best option: (C)" is B."""
        text = reply.strip()
        for prefix in _OFFICIAL_PREFIXES:
            text = text.replace(prefix, "")
        found = _OFFICIAL_LETTER.search(text)
        return found[0] if found else None

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """The block of the README that has places for subtitles and question, without the former."""
        assert self.setting.prompts is not None
        readme = official_text(self.setting.prompts, "README.md")
        block = fenced_block(readme, "[Question]", str(self.setting.prompts / "README.md"))
        template = block.partition("[Subtitles]")[2].lstrip() or block
        return template.replace("[Question]", "\n".join([item.question, *item.meta["options"]]))

    def groups(self, item: Item) -> tuple[str, ...]:
        return (item.split, *(item.meta[name] for name in ("domain", "sub_category") if name in item.meta))

    def _items(self, annotations: Annotations, record: Record) -> Iterable[Item]:
        """One of a row of the table; of the template's records, which are videos, one for each question."""
        if not record.has("questions"):
            yield self._item(annotations, record, record)
            return
        yield from annotations.make(record.records("questions"), lambda inner: [self._item(annotations, record, inner)])

    def _item(self, annotations: Annotations, video: Record, record: Record) -> Item:
        length = video.text("duration" if video.has("duration") else "duration_category")
        if length not in self.splits:
            raise record.malformed(f"has the length {length!r}; expected {', '.join(self.splits)}")
        options = record.texts("options" if record.has("options") else "choices", at_least=_N_CHOICES)
        choices = tuple(without_letter(option, index) for index, option in enumerate(options))
        answer = strict_letter(record.text("answer"), len(choices))
        if answer is None:
            raise record.malformed(f"has 'answer' = {record.get('answer')!r}; expected a letter of its options")
        file_name = video.text("videoID" if video.has("videoID") else "video_id")
        kinds = {
            "domain": video.get("domain") or video.get("video_category"),
            "sub_category": video.get("sub_category") or video.get("video_subcategory"),
        }
        return Item(
            bench=self.name,
            split=length,
            qid=record.text("question_id"),
            video=annotations.video(f"data/{file_name}", f"videos/{file_name}", f"video/{file_name}", file_name),
            task=record.text("task_type"),
            question=record.text("question"),
            choices=choices,
            gold=Gold("letter", answer),
            meta=record.rest(*_KNOWN) | {"options": options} | {name: kind for name, kind in kinds.items() if kind},
        )
