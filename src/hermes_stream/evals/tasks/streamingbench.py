"""StreamingBench: questions during the video with four options, dialogues among them, and requests to speak up in time.

Files: `questions_{real,omni,sqa,proactive}.json` of the repository, their `_stream` variants, and the hub's table of
the real-time part. Official: `src/benchmark/*.py` and `src/data/count.py` of the repository.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import ChoiceTask, letters
from hermes_stream.evals.extraction import strict_letter, strict_yes_no
from hermes_stream.evals.firing import Firing, find_firing, output_ask, times_spoken_up
from hermes_stream.evals.item import Ask, Earlier, Gold, Item, Reply
from hermes_stream.evals.option_lists import LETTERS, listed, meant_options, published_options, unlettered
from hermes_stream.evals.sample_places import sample_of_path, sample_of_row, sample_places
from hermes_stream.evals.scores import Average, Mark, Mode, Scores
from hermes_stream.evals.stamps import is_usual, meant_seconds, published_seconds
from hermes_stream.evals.wording import python_text
from hermes_stream.types import Query, Turn

_CONTEXTUAL = ("Anomaly Context Understanding", "Misleading Context Understanding")
# Of each published file: the splits in it, and its names, the first of which there is counts.
_FILES = {
    "real": (
        ("real-time",),
        ("questions_real.json", "questions_real_stream.json", "Real_Time_Visual_Understanding.csv"),
    ),
    "omni": (("omni", "contextual"), ("questions_omni.json", "questions_omni_stream.json")),
    "sqa": (("sequential",), ("questions_sqa.json", "questions_sqa_stream.json")),
    "proactive": (("proactive",), ("questions_proactive.json", "questions_proactive_50.json")),
}
_FOLDERS = ("", "src/data/", "StreamingBench/")
_GIVEN_GOLD = "sequential given gold"
_IN_TIME = "proactive in time"
_TOLERANCE_SECONDS = 2
_POLLED_AFTER_SECONDS = 4
_OUTPUT_TOKENS = 64
_CLOCKS = (1, 6, 7)
_HISTORY = "<what came before>"
# Captions, causes and effects tell what is to be seen.
_KNOWN = (
    "task_type", "question", "time_stamp", "answer", "options", "ground_truth_time_stamp", "ground_truth_output",
    "captions", "cause", "effect", "audio_path", "time", "video_path", "questions", "question_id",
)  # fmt: skip


class StreamingBench(ChoiceTask):
    """See the module."""

    name: ClassVar[str] = "streamingbench"
    title: ClassVar[str] = "StreamingBench"
    hub_id: ClassVar[str | None] = "mjuicem/StreamingBench"
    licence: ClassVar[str] = "code MIT; see the data set's card"
    splits: ClassVar[tuple[str, ...]] = ("real-time", "omni", "contextual", "sequential", "proactive")
    metric: ClassVar[str] = "accuracy of each group; of requests, right text within 2 s"
    files: ClassVar[str] = "questions_real.json, _omni, _sqa and _proactive of the wanted splits, and videos/"
    averages: ClassVar[tuple[Average, ...]] = tuple(
        Average(name, (name,))
        for name in ("real-time", "omni", "contextual", "sequential", _GIVEN_GOLD, "proactive", _IN_TIME)
    )

    def read(self, annotations: Annotations) -> Iterable[Item]:
        for kind, (splits, names) in _FILES.items():
            if not set(splits) & set(self.wanted_splits):
                continue
            (path, *_) = annotations.find(*(folder + name for name in names for folder in _FOLDERS))
            yield from (item for item in self._of_file(annotations, path, kind) if item.split in self.wanted_splits)

    def polls(self, item: Item) -> Sequence[Ask]:
        """Requests every second until 4 s after the moment; dialogues with one's own answers, and again with gold ones.

        The published runner asks dialogues with gold ones only.
        """
        official = self.setting.protocol == "official"
        if item.split == "sequential":
            given = Ask(item.qid, item.ask_seconds, part="given-gold", shows_gold=True)
            return (given,) if official else (Ask(item.qid, item.ask_seconds), given)
        if item.split != "proactive":
            return super().polls(item)
        last = _gold_seconds(item) + _POLLED_AFTER_SECONDS
        times = range(int(item.ask_seconds) + 1, last + 1)
        return tuple(Ask(item.qid, time, index, shows_gold=official) for index, time in enumerate(times))

    def follow_up(self, item: Item, ask: Ask, reply: Reply) -> Ask | None:
        """After a yes, in whichever reading, what there is to say."""
        if item.split != "proactive" or ask.part or reply.error is not None:
            return None
        modes: tuple[Mode, ...] = ("official", "logits")
        return output_ask(ask) if any(_says_yes(reply, mode) for mode in modes) else None

    def choices(self, item: Item, ask: Ask) -> tuple[str, ...]:
        if item.split == "proactive":
            return () if ask.part else ("Yes", "No")
        return super().choices(item, ask)

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:
        query = super().prompt(item, ask, earlier)
        told = [each for each in earlier if each[1].part == ask.part]
        if item.split == "proactive":
            text = query.text if self.setting.prompts is not None else _request(item, ask)
            n_tokens = _OUTPUT_TOKENS if ask.part and self.setting.max_new_tokens is None else query.max_new_tokens
            return replace(query, text=text, max_new_tokens=n_tokens)
        if self.setting.prompts is None:
            return replace(query, turns=tuple(_turn(*each) for each in told))
        return replace(query, text=self._with_history(query.text, told)) if item.split == "sequential" else query

    def official_prompt(self, item: Item, ask: Ask) -> str:
        """The templates of `src/benchmark/`; in dialogues a place is left for what came before."""
        assert self.setting.prompts is not None
        if item.split == "proactive":
            name, variable = "StreamingBenchProactive.py", "PROMPT_TEMPLATE_PROACTIVE"
            return python_text(self.setting.prompts / "src/benchmark", name, variable).format(_request(item, ask))
        shown = item.meta["options"] if self.setting.protocol == "official" else _lettered(item)
        name = "StreamingBenchSQA.py" if item.split == "sequential" else "StreamingBench.py"
        template = python_text(self.setting.prompts / "src/benchmark", name, "PROMPT_TEMPLATE")
        if item.split == "sequential":
            return template.format(_HISTORY, item.question, *shown)
        return template.format(item.question, *shown) + "\n\nThe best option is:"

    def _with_history(self, text: str, told: Sequence[Earlier]) -> str:
        """Their sentences for it stand in no template of the repository; these are ours."""
        lines = [f"Question: {turn.question}\nAnswer: {turn.answer}" for turn in (_turn(*each) for each in told)]
        return text.replace(_HISTORY, "\n".join(["Asked before:", *lines]) if lines else "", 1)

    def official_letter(self, item: Item, reply: str) -> str | None:  # noqa: ARG002
        """The first character."""
        return reply[:1] if reply[:1] and reply[:1] in LETTERS else None

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        """extras: of requests, when was spoken up, in per cent, and false alarms per minute before the moment."""
        asked = super().score([item for item in items if item.split != "proactive"], replies, mode).marks
        dialogues = {item.qid for item in items if item.split == "sequential"}
        marks = [_finished(mark, replies.get(mark.key), mode) if _qid(mark) in dialogues else mark for mark in asked]
        firings = {item.qid: self._firing(item, replies, mode) for item in items if item.split == "proactive"}
        for item in items:
            if item.split == "proactive":
                marks += self._proactive_marks(item, firings[item.qid])
        return Scores(mode, tuple(marks), self.averages, times_spoken_up(list(firings.values())))

    def _firing(self, item: Item, replies: Mapping[str, Reply], mode: Mode) -> Firing:
        return find_firing(
            self.polls(item), replies, lambda reply: _says_yes(reply, mode), _gold_seconds(item), _TOLERANCE_SECONDS
        )

    def _proactive_marks(self, item: Item, firing: Firing) -> list[Mark]:
        in_time = firing.when == "on time"
        is_said = in_time and item.truth in firing.output
        mark = replace(
            self.new_mark(item, item.qid, float(is_said)), is_parsed=firing.is_parsed, is_answered=firing.is_answered
        )
        time_mark = replace(
            mark, key=f"{item.qid}:time", task=f"{item.task} (time)", value=float(in_time), groups=(_IN_TIME,)
        )
        return [mark, time_mark]

    def baselines(self, items: Sequence[Item], mode: Mode) -> Mapping[str, Scores]:
        """Always one letter, and a clock: so many seconds after a request it says yes and repeats the request."""
        rows = [(letter, _CLOCKS[0]) for letter in LETTERS] + [("A", seconds) for seconds in _CLOCKS[1:]]
        said = {
            f"always {letter}, yes after {seconds} s": self.score(items, self._constant(items, letter, seconds), mode)
            for letter, seconds in rows
        }
        chances = [replace(mark, value=1 / len(LETTERS) if _is_choice(mark) else 0.0, is_answered=True)
                   for mark in self.score(items, {}, mode).marks]  # fmt: skip
        return {**said, "chance": Scores(mode, tuple(chances), self.averages)} if items else {}

    def _constant(self, items: Sequence[Item], letter: str, seconds: int) -> dict[str, Reply]:
        replies: dict[str, Reply] = {}
        for item in items:
            for ask in self.polls(item):
                fires = ask.seconds == item.ask_seconds + seconds
                text = letter if item.choices else "Yes" if fires else "No"
                replies[ask.key] = Reply(key=ask.key, text=text, probabilities={text: 1.0})
                if not item.choices and fires:
                    key = output_ask(ask).key
                    replies[key] = Reply(key=key, text=item.question)
        return replies

    def _of_file(self, annotations: Annotations, path: Path, kind: str) -> Iterable[Item]:
        return annotations.make(annotations.records(path), lambda entry: self._items(annotations, entry, kind))

    def _items(self, annotations: Annotations, entry: Record, kind: str) -> Iterable[Item]:
        """An entry holds questions about one video; a row of the table is one."""
        questions = entry.records("questions") if entry.has("questions") else [entry]
        if not entry.has("questions") and not entry.has("question_id"):
            raise entry.malformed("has no 'questions'")
        make = self._request_item if kind == "proactive" else self._choice_item
        yield from annotations.make(questions, lambda record: [make(annotations, entry, record, kind)])

    def _choice_item(self, annotations: Annotations, entry: Record, record: Record, kind: str) -> Item:
        item = self._base(annotations, entry, record, kind)
        given = _options(record)
        published, meant = published_options(given), meant_options(given)
        if meant is None:
            raise record.malformed(f"has the options {str(given)[:60]!r}, which are not four")
        if meant != tuple(text.strip() for text in unlettered(published)):
            annotations.repaired(record, "has options that are broken, repeated or in another order")
        answer = strict_letter(record.text("answer"), len(LETTERS))
        if answer is None:
            raise record.malformed(f"has 'answer' = {record.get('answer')!r}; expected a letter of its options")
        return replace(
            item,
            choices=unlettered(published) if self.setting.protocol == "official" else meant,
            gold=Gold("letter", answer),
            dialogue=item.video if kind == "sqa" else None,
            meta={**item.meta, "options": published},
        )

    def _request_item(self, annotations: Annotations, entry: Record, record: Record, kind: str) -> Item:
        item = self._base(annotations, entry, record, kind)
        moment = self._seconds(annotations, record, "ground_truth_time_stamp")
        if moment < item.ask_seconds:
            raise record.malformed("has a moment that is before the request for it")
        start = item.ask_seconds if self.setting.protocol == "official" else item.clip[0]
        return replace(
            item,
            gold=Gold("text", record.text("ground_truth_output"), {"seconds": moment}),
            clip=(start, item.clip[1]),
        )

    def _base(self, annotations: Annotations, entry: Record, record: Record, kind: str) -> Item:
        """What all kinds of questions share."""
        task, seconds = record.text("task_type"), self._seconds(annotations, record, "time_stamp")
        stem = _stem(entry, kind)
        return Item(
            bench=self.name,
            split=_split(kind, task),
            qid=f"{stem}/{_fingerprint(record)}",
            video=annotations.video(*sample_places(stem, kind)),
            task=task,
            question=record.text("question"),
            gold=None,
            ask_seconds=seconds,
            clip=self.clip_before(seconds),
            meta={**entry.rest(*_KNOWN), **record.rest(*_KNOWN)},
        )

    def _seconds(self, annotations: Annotations, record: Record, name: str) -> int:
        stamp = record.text(name).strip()
        read = published_seconds if self.setting.protocol == "official" else meant_seconds
        if (seconds := read(stamp)) is None:
            raise record.malformed(f"has {name!r} = {stamp[:60]!r}; expected a time such as 00:01:05")
        if not is_usual(stamp):
            annotations.repaired(record, f"has {name!r} = {stamp!r}, which is read as {seconds} s")
        return seconds


def _split(kind: str, task: str) -> str:
    return "contextual" if kind == "omni" and task in _CONTEXTUAL else _FILES[kind][0][0]


def _stem(entry: Record, kind: str) -> str:
    if entry.has("video_path"):
        return sample_of_path(entry.text("video_path"))
    if (stem := sample_of_row(entry.text("question_id"), kind)) is None:
        raise entry.malformed(f"has 'question_id' = {entry.get('question_id')!r}, which names no video")
    return stem


def _fingerprint(record: Record) -> str:
    """Of what is asked: records have no ids, and one video asks the same twice with other options."""
    told = [record.text("time_stamp"), record.text("question"), *(_options(record) if record.has("options") else ())]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:8]


def _options(record: Record) -> list[str]:
    options = listed(record.get("options"))
    if options is None or len(options) < len(LETTERS):
        raise record.malformed(f"has 'options' = {str(record.get('options'))[:60]!r}; expected a list of four texts")
    return options


def _lettered(item: Item) -> list[str]:
    return [f"{letter}. {text}" for letter, text in zip(letters(item), item.choices, strict=True)]


def _turn(item: Item, ask: Ask, reply: Reply) -> Turn:
    question = Query(item.question, options=item.choices).prompt
    return Turn(question, item.truth if ask.shows_gold else reply.text, reply.time_seconds)


def _request(item: Item, ask: Ask) -> str:
    """A poll, or what is asked once it is time. The published poll quotes what is right to say."""
    if ask.part:
        return item.question
    what = f'output "{item.truth}"' if ask.shows_gold else "do so"
    return f"{item.question}\nIs now the moment to {what}? Answer yes or no."


def _gold_seconds(item: Item) -> int:
    return 0 if item.gold is None else int(item.gold.facts["seconds"])


def _says_yes(reply: Reply, mode: Mode) -> bool | None:
    """Officially anything with "yes" in it, "yesterday" too."""
    if mode == "official":
        return "yes" in reply.text.lower()
    said = strict_yes_no(reply.text if mode == "strict" else reply.likeliest or "")
    return None if said is None else said == "yes"


def _finished(mark: Mark, reply: Reply | None, mode: Mode) -> Mark:
    """Of a dialogue: by what was told of earlier answers. The script skips empty replies in dialogues only."""
    if mode == "official" and reply is not None and reply.error is None and not reply.text:
        mark = replace(mark, is_counted=False)
    if mark.key.endswith(":given-gold"):
        return replace(mark, task=f"{mark.task} (given gold)", groups=(_GIVEN_GOLD,))
    return mark


def _qid(mark: Mark) -> str:
    return mark.key.partition(":")[0]


def _is_choice(mark: Mark) -> bool:
    return not {"proactive", _IN_TIME} & set(mark.groups)
