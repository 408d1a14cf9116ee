"""Every answer of a run as JSON lines, and records made of them again: to join runs, and to count anew.

Three kinds of line: `settings`, once for each model of a run; `question`, with the answers of all memories; `episode`,
with what is known at its end. An episode's lines come at once when it is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hermes_stream.errors import ConfigError
from hermes_stream.evals.alone import TimesAlone
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.run import Record, Verdict
from hermes_stream.shapestream import Question, is_right

FILE_NAME = "answers.jsonl"

_Json = dict[str, Any]
_Asked = tuple[int, float, str]


class AnswerLog:
    """Writes `answers.jsonl` into a folder while a run goes on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        self._path.write_text("", encoding="utf-8")

    def begin(self, lineup: Lineup, settings: Mapping[str, Any]) -> None:
        """settings: those that runs must share to be joined."""
        memories = [{"name": str(entry), **asdict(entry)} for entry in lineup.entries]
        model = {"model": lineup.model, "tokens_per_frame": lineup.tokens_of(1)}
        self._put([{"settings": dict(settings), **model, "memories": memories}])

    def end_episode(self, lineup: Lineup, records: Sequence[Record], seed: int, index: int) -> None:
        """records: of the entries that began the episode, the run's `index`-th."""
        answers: dict[Question, dict[str, _Json]] = {}
        for record in records:
            for verdict in record.verdicts:
                if verdict.episode == index:
                    answers.setdefault(verdict.question, {})[str(record.entry)] = _answer(verdict)
        where = {"model": lineup.model, "seed": seed}
        lines = [{"question": asdict(question), **where, "answers": given} for question, given in answers.items()]
        ends = {str(record.entry): _end(record) for record in records}
        self._put([*lines, {"episode": ends, **where}])

    def _put(self, lines: Iterable[_Json]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


@dataclass
class SavedModel:
    """What files say of one model: enough for a report."""

    model: str
    tokens_per_frame: float
    settings: _Json
    entries: dict[str, Entry] = field(default_factory=dict)
    questions: dict[_Asked, tuple[Question, dict[str, _Json]]] = field(default_factory=dict)
    ends: dict[int, dict[str, _Json]] = field(default_factory=dict)

    def tokens_of(self, n_frames: int) -> float:
        return n_frames * self.tokens_per_frame

    @property
    def seeds(self) -> list[int]:
        """Of the episodes that somebody watched to the end."""
        return sorted(self.ends)

    def records(self) -> list[Record]:
        """One per memory; one that has not answered all that the others were asked has an error."""
        asked = [self.questions[key] for key in sorted(self.questions) if key[0] in self.ends]
        seeds = [key[0] for key in sorted(self.questions) if key[0] in self.ends]
        return [self._record(name, entry, asked, seeds) for name, entry in self.entries.items()]

    def _record(
        self, name: str, entry: Entry, asked: Sequence[tuple[Question, dict[str, _Json]]], seeds: Sequence[int]
    ) -> Record:
        index_of = {seed: index for index, seed in enumerate(self.seeds)}
        record = Record(entry)
        for seed, (question, answers) in zip(seeds, asked, strict=True):
            if name in answers:
                record.verdicts.append(_verdict(index_of[seed], question, answers[name]))
        for seed in self.seeds:
            if (end := self.ends[seed].get(name)) is not None:
                _take_end(record, end)
        if record.error is None and len(record.verdicts) < len(asked):
            record.error = f"answered {len(record.verdicts)} of the {len(asked)} questions that others were asked"
        return record

    def add(self, line: _Json) -> None:
        if "question" in line:
            question = Question(**line["question"])
            at = self.questions.setdefault((line["seed"], question.time_s, question.question), (question, {}))
            at[1].update(line["answers"])
        else:
            self.ends.setdefault(line["seed"], {}).update(line["episode"])


def read_answers(paths: Sequence[Path]) -> list[SavedModel]:
    """The models of runs saved with `--out`, joined: more episodes, more memories, or more models.

    paths: folders, or the files in them. Raises ConfigError for files that are none of these, and for runs of which one
    model was asked differently.
    """
    models: dict[str, SavedModel] = {}
    for path in paths:
        for line in _lines(path / FILE_NAME if path.is_dir() else path):
            name = line["model"]
            if "settings" in line:
                saved = models.setdefault(name, SavedModel(name, line["tokens_per_frame"], line["settings"]))
                if saved.settings != line["settings"]:
                    raise ConfigError(
                        f"{path}: {name} was run with {line['settings']}, before with {saved.settings}; "
                        "join runs with the same settings"
                    )
                saved.entries.update({each.pop("name"): Entry(**each) for each in line["memories"]})
            else:
                models[name].add(line)
    finished = [model for model in models.values() if model.ends]
    if not finished:
        raise ConfigError(f"no finished episode in {', '.join(map(str, paths))}; let the run get further")
    return finished


def _lines(path: Path) -> list[_Json]:
    """All whole lines: a run that was ended may leave part of one."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}; give a folder that `eval shapestream --out` wrote") from error
    if not lines or not isinstance(lines[0], dict) or "settings" not in lines[0]:
        raise ConfigError(f"{path} holds no answers; give a folder that `eval shapestream --out` wrote")
    return lines


def _answer(verdict: Verdict) -> _Json:
    held = {"held_tokens": verdict.held_tokens, "bytes": verdict.memory_bytes, "archive_bytes": verdict.archive_bytes}
    return {"text": verdict.text, **held}


def _verdict(index: int, question: Question, answer: _Json) -> Verdict:
    right = is_right(answer["text"], question.answer)
    held = tuple(answer["held_tokens"])
    return Verdict(index, question, right, held, answer["bytes"], answer["archive_bytes"], answer["text"])


def _end(record: Record) -> _Json:
    """What is known of an entry at an episode's end: only that it failed, or all else."""
    if record.error is not None:
        return {"budget_tokens": record.budget_tokens, "error": record.error}
    times = None if record.times is None else asdict(record.times)
    return {"budget_tokens": record.budget_tokens, "ages": record.ages[-1].tolist(), "times": times}


def _take_end(record: Record, end: _Json) -> None:
    record.budget_tokens = end["budget_tokens"]
    if "error" in end:
        record.error = end["error"]
        return
    record.ages.append(np.array(end["ages"]))
    if record.times is None and end["times"] is not None:
        record.times = TimesAlone(**end["times"])
