"""OVO-Bench: questions about now (six tasks), about before (three), and about what is still to come (three, polled).

One item for each query: 1,640 records make 3,035. Official: `utils/OVOBench.py` and `utils/OVOBenchScore.py` of the
repository, edition `ovo_bench_new.json`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask, letters, shuffled
from hermes_stream.evals.extraction import strict_count, strict_letter, strict_yes_no
from hermes_stream.evals.item import Ask, Earlier, Gold, Item, Reply
from hermes_stream.evals.scores import Average, Mode, Scores
from hermes_stream.evals.wording import python_text
from hermes_stream.types import Query

_TASKS = {
    "real-time": ("OCR", "ACR", "ATR", "STU", "FPD", "OJR"),
    "backward": ("EPM", "ASI", "HLD"),
    "forward": ("REC", "SSR", "CRR"),
}
_SPLIT_OF = {task: split for split, tasks in _TASKS.items() for task in tasks}
_PROBE = "abstention-probe"
_PROBED_TASKS = ("EPM", "ASI")
_ABSTENTION = "Unable to answer"
_TEMPLATES = {"REC": "REC_PROMPT_TEMPLATE", "SSR": "SSR_PROMPT_TEMPLATE", "CRR": "CRR_PROMPT_TEMPLATE"}
_OWN_WORDING = {
    "REC": "{} Count what was shown so far. Answer with a number only.",
    "SSR": "This is a step of what is being done: {}\nIs somebody doing it right now? Answer yes or no.",
    "CRR": "{}\nDo not answer this. Has enough been shown so far to answer it? Answer yes or no.",
}
# What else a record holds would tell what happens when.
_KNOWN = (
    "id", "task", "video", "realtime", "question", "answer", "options", "gt", "activity", "start_times", "end_times",
    "tutorial", "all_steps", "start_time", "end_time", "ask_time", "clue_time", "test_info",
)  # fmt: skip
# A few options carry a letter in brackets that is not the one by which they are called.
_STRAY_LETTER = re.compile(r"^\s*\([A-E]\)\s*")


class OvoBench(ChoiceTask):
    """See the module."""

    name: ClassVar[str] = "ovobench"
    title: ClassVar[str] = "OVO-Bench"
    hub_id: ClassVar[str | None] = "JoeLeelyf/OVO-Bench"
    licence: ClassVar[str] = "data CC BY-NC-SA 4.0, and the licences of its sources"
    splits: ClassVar[tuple[str, ...]] = (*_TASKS, _PROBE)
    metric: ClassVar[str] = "mean of tasks in each regime, mean of the three regimes"
    files: ClassVar[str] = "ovo_bench_new.json, and the source videos in src_videos/"
    constant_texts: ClassVar[tuple[str, ...]] = ("yes", "1")
    averages: ClassVar[tuple[Average, ...]] = (
        *(Average(split, tasks, "even") for split, tasks in _TASKS.items()),
        Average("backward without HLD", _PROBED_TASKS, "even"),
        Average("avg2", ("real-time", "backward"), "even"),
        Average("avg2 without HLD", ("real-time", "backward without HLD"), "even"),
        Average("avg3", ("real-time", "backward", "forward"), "even"),
        Average("hallucination", ("HLD",), is_apart=True),
        Average("abstention probe", (_PROBE,), is_apart=True),
    )

    def read(self, annotations: Annotations) -> Iterable[Item]:
        for path in annotations.find("ovo_bench_new.json", "data/ovo_bench_new.json"):
            for item in annotations.make(annotations.records(path), lambda record: self._items(annotations, record)):
                if item.split in self.wanted_splits:
                    yield item

    def polls(self, item: Item) -> Sequence[Ask]:
        """One; what nobody would ask by himself says that it is a poll or a probe."""
        if item.split == "forward":
            return (Ask(item.qid, item.ask_seconds, index=int(item.qid.rpartition("_")[2])),)
        return (Ask(item.qid, item.ask_seconds, part="probe" if item.split == _PROBE else ""),)

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:
        query = super().prompt(item, ask, earlier)
        if item.choices or self.setting.prompts is not None:
            return query
        return replace(query, text=_OWN_WORDING[item.task].format(item.question))

    def official_prompt(self, item: Item, ask: Ask) -> str:  # noqa: ARG002
        """The templates of `constant.py`; options stand in one line."""
        assert self.setting.prompts is not None
        template = python_text(self.setting.prompts, "constant.py", _TEMPLATES.get(item.task, "BR_PROMPT_TEMPLATE"))
        if not item.choices:
            return template.format(item.question)
        options = [f"{letter}. {text};" for letter, text in zip(letters(item), item.choices, strict=True)]
        return template.format(item.question, " ".join(options))

    def choices(self, item: Item, ask: Ask) -> tuple[str, ...]:
        if item.gold is not None and item.gold.kind == "yesno":
            return ("Yes", "No")
        return super().choices(item, ask)

    def official_letter(self, item: Item, reply: str) -> str | None:
        """The gold one wherever a reply holds it, in a word too: "About a chair" is A and C."""
        return item.truth if item.truth in reply else next((each for each in letters(item) if each in reply), None)

    def answer_in(self, item: Item, reply: Reply, mode: Mode) -> str | None:
        """Counts have no probabilities: in the mode "logits" they are read strictly."""
        if item.gold is None or item.gold.kind == "letter":
            return super().answer_in(item, reply, mode)
        if item.gold.kind == "count":
            return _official_count(reply.text) if mode == "official" else _strict_count(reply.text)
        if mode == "official":
            return _official_yes_no(reply.text, item.truth)
        return strict_yes_no(reply.text if mode == "strict" else reply.likeliest or "")

    def chance(self, item: Item) -> float:
        """Of counts there is no chance."""
        if item.choices:
            return super().chance(item)
        return 0.5 if item.gold is not None and item.gold.kind == "yesno" else 0.0

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        """extras: how often each letter was said, and how often "unable" where the answer was to be seen; per cent."""
        return replace(super().score(items, replies, mode), extras=self._extras(items, replies, mode))

    def _extras(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> dict[str, float]:
        said = {}
        for item in items:
            for ask in self.polls(item):
                if letter := self._said(item, replies.get(ask.key), mode):
                    said[item.qid] = letter
        of_letter = Counter(said.values())
        probed = [item for item in items if item.split == _PROBE]
        abstained = [item for item in probed if _choice(item, said.get(item.qid)) == _ABSTENTION]
        shares = {f"says {letter}": 100 * n / len(said) for letter, n in sorted(of_letter.items())}
        return shares | ({"false abstention": 100 * len(abstained) / len(probed)} if probed else {})

    def _said(self, item: Item, reply: Reply | None, mode: Mode) -> str | None:
        """The letter that a reply names, read strictly: the official rule knows none but the gold one."""
        if not item.choices or reply is None or reply.error is not None:
            return None
        return reply.likeliest if mode == "logits" else strict_letter(reply.text, len(item.choices))

    def _items(self, annotations: Annotations, record: Record) -> Iterable[Item]:
        task = record.text("task")
        if task not in _SPLIT_OF:
            raise record.malformed(f"has the task {task!r}; expected one of {', '.join(_SPLIT_OF)}")
        base = self._base(annotations, record, task)
        if task in _TASKS["forward"]:
            polls = record.records("test_info")
            number_of = {poll.index: number for number, poll in enumerate(polls)}
            yield from annotations.make(polls, lambda poll: [self._poll(record, poll, number_of[poll.index], base)])
            return
        yield self._in_order(self._choice_item(record, base))
        if task in _PROBED_TASKS:
            yield self._in_order(_with_abstention(self._choice_item(record, base)))

    def _base(self, annotations: Annotations, record: Record, task: str) -> Item:
        """What all items of a record share."""
        video = record.text("video")
        return Item(
            bench=self.name,
            split=_SPLIT_OF[task],
            qid=record.text("id"),
            video=annotations.video(f"src_videos/{video}", f"data/src_videos/{video}", video),
            task=task,
            question="",
            gold=None,
            meta={"record": record.get("id"), **record.rest(*_KNOWN)},
        )

    def _choice_item(self, record: Record, base: Item) -> Item:
        options = record.texts("options", at_least=2)
        place = record.integer("gt")
        if not 0 <= place < len(options):
            raise record.malformed(f"has 'gt' = {place}; expected the place of one of {len(options)} options")
        if self.setting.protocol == "strict":
            options = [_STRAY_LETTER.sub("", option) for option in options]
        return replace(
            base,
            question=record.text("question"),
            choices=tuple(options),
            gold=Gold("letter", "ABCDEFGHIJ"[place], {"answer": record.get("answer")}),
            ask_seconds=(seconds := self._seconds(record)),
            clip=self.clip_before(seconds),
        )

    def _poll(self, record: Record, poll: Record, number: int, base: Item) -> Item:
        """Called as its published clip is, ID_NUMBER."""
        return replace(
            base,
            qid=f"{base.qid}_{number}",
            question=_question(record, poll, base.task),
            gold=_gold(record, poll, base.task),
            ask_seconds=(seconds := self._seconds(poll)),
            clip=self.clip_before(seconds),
        )

    def _seconds(self, record: Record) -> float:
        """The published clips end at whole seconds, and so hold up to one of the future."""
        seconds = record.number("realtime")
        return float(math.ceil(seconds)) if self.setting.protocol == "official" else seconds

    def _in_order(self, item: Item) -> Item:
        return shuffled(item, self.setting.seed) if self.setting.protocol == "strict" else item


def _question(record: Record, poll: Record, task: str) -> str:
    if task == "REC":
        return f"How many times did they {record.text('activity')}?"
    return poll.text("step") if task == "SSR" else record.text("question")


def _gold(record: Record, poll: Record, task: str) -> Gold:
    if task == "REC":
        return Gold("count", str(poll.integer("count")))
    is_so = poll.integer("type")
    if is_so not in (0, 1):
        raise poll.malformed(f"has 'type' = {is_so}; expected 0 or 1")
    facts: dict[str, Any] = {name: record.get(name) for name in ("answer", "clue_time") if record.has(name)}
    return Gold("yesno", "yes" if is_so else "no", facts)


def _with_abstention(item: Item) -> Item:
    """The same question with the option that HLD alone has: whoever takes it here is shy, not careful."""
    return replace(item, split=_PROBE, qid=f"{item.qid}-probe", task=_PROBE, choices=(*item.choices, _ABSTENTION))


def _choice(item: Item, letter: str | None) -> str | None:
    return None if letter is None else item.choices[letters(item).index(letter)]


def _official_count(reply: str) -> str | None:
    """All digits of a reply in a row: "2 out of 3" is 23."""
    return "".join(re.findall(r"\d+", reply)) or None


def _strict_count(reply: str) -> str | None:
    count = strict_count(reply)
    return None if count is None else str(count)


def _official_yes_no(reply: str, truth: str) -> str | None:
    """The gold one wherever it stands with a capital, "Not" included; or a lone Y or N."""
    if reply in ("Y", "N"):
        return {"Y": "yes", "N": "no"}[reply]
    return next((each for each in (truth, "yes", "no") if each.capitalize() in reply), None)
