"""Runs that are saved and counted again: the same rows, also of several runs together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.evals.alone import TimesAlone
from hermes_stream.evals.answer_log import AnswerLog, read_answers
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.report import report
from hermes_stream.evals.run import Record, Verdict
from hermes_stream.shapestream import Question, is_right

SETTINGS = {"seconds": 20.0, "every_s": 1.0, "regimes": ["real-time", "backward"]}
ASKED = [
    Question(3.0, "What object is visible now?", "red ring", "real-time", "object", 0.0),
    Question(9.5, "What object came first?", "red ring", "backward", "first", 3.1),
]


class Saved:
    """A line-up as far as a log looks at it."""

    def __init__(self, entries: Sequence[Entry], model: str = "tiny") -> None:
        self.model, self.entries = model, tuple(entries)

    def tokens_of(self, n_frames: int) -> float:
        return 2.5 * n_frames


def record(entry: Entry, seeds: Sequence[int], **changes: Any) -> Record:
    """Answers that depend on nothing but entry, seed and question."""
    verdicts = []
    for index, seed in enumerate(seeds):
        for question in ASKED:
            text = "red ring." if (seed + len(str(entry)) + len(question.task)) % 3 else "blue ring"
            size = seed % 7 + len(str(entry))
            right = is_right(text, question.answer)
            verdicts.append(Verdict(index, question, right, (size, size + 1), 10 * size, 3 * size, text))
    ages = [np.eye(10)[seed % 10] for seed in seeds]
    return replace(Record(entry, 18, verdicts, ages, TimesAlone(0.012, 0.034)), **changes)


def save(folder: Path, entries: Sequence[Entry], seeds: Sequence[int], model: str = "tiny", **settings: Any) -> None:
    log, lineup = AnswerLog(folder), cast(Lineup, Saved(entries, model))
    log.begin(lineup, SETTINGS | settings)
    for index, seed in enumerate(seeds):
        so_far = [record(entry, seeds[: index + 1]) for entry in entries]
        log.end_episode(lineup, so_far, seed, index)


def rows_of(*folders: Path) -> list[dict[str, Any]]:
    rows = []
    for model in read_answers(folders):
        rows += report([model], [model.records()], len(model.seeds))
    return rows


ENTRIES = [Entry("uniform", 18), Entry("hermes", 18), Entry("keep-all")]
SEEDS = [900_000, 900_001, 900_002, 900_003]


def test_rows_from_a_file_are_those_of_the_run(tmp_path: Path) -> None:
    save(tmp_path / "run", ENTRIES, SEEDS)
    direct = report([cast(Lineup, Saved(ENTRIES))], [[record(entry, SEEDS) for entry in ENTRIES]], len(SEEDS))
    assert rows_of(tmp_path / "run") == direct
    assert rows_of(tmp_path / "run" / "answers.jsonl") == direct
    assert 0 < direct[0]["accuracy"] < 1
    assert direct[0]["archive_bytes"] > 0


def test_runs_of_other_episodes_or_other_memories_are_one_run(tmp_path: Path) -> None:
    save(tmp_path / "all", ENTRIES[:2], SEEDS)
    save(tmp_path / "late", ENTRIES[:2], SEEDS[2:])
    save(tmp_path / "early", ENTRIES[:2], SEEDS[:2])
    save(tmp_path / "first", ENTRIES[:1], SEEDS)
    save(tmp_path / "second", ENTRIES[1:2], SEEDS)
    whole = rows_of(tmp_path / "all")
    assert rows_of(tmp_path / "first", tmp_path / "second") == whole
    assert rows_of(tmp_path / "late", tmp_path / "early") == whole


def test_models_stay_apart(tmp_path: Path) -> None:
    save(tmp_path / "a", ENTRIES[:1], SEEDS)
    save(tmp_path / "b", ENTRIES[:1], SEEDS[:2], model="other", seconds=30.0)
    rows = rows_of(tmp_path / "a", tmp_path / "b")
    assert [(row["model"], row["n"], row["episodes"]) for row in rows] == [("tiny", 8, 4), ("other", 4, 2)]


def test_a_memory_that_was_asked_less_has_an_error_instead_of_a_share(tmp_path: Path) -> None:
    save(tmp_path / "a", ENTRIES[:2], SEEDS[:2])
    save(tmp_path / "b", ENTRIES[:1], SEEDS[2:])
    whole, part = rows_of(tmp_path / "a", tmp_path / "b")
    assert whole["n"] == 8
    assert part["error"] == "answered 4 of the 8 questions that others were asked"
    assert "accuracy" not in part


def test_who_fell_out_says_why(tmp_path: Path) -> None:
    log, lineup = AnswerLog(tmp_path), cast(Lineup, Saved(ENTRIES[:2]))
    log.begin(lineup, SETTINGS)
    failed = record(ENTRIES[1], SEEDS[:1], error="PlanError: layer 0", ages=[])
    failed.verdicts.pop()
    log.end_episode(lineup, [record(ENTRIES[0], SEEDS[:1]), failed], SEEDS[0], 0)
    log.end_episode(lineup, [record(ENTRIES[0], SEEDS[:2])], SEEDS[1], 1)
    good, bad = rows_of(tmp_path)
    assert good["n"] == 4
    assert bad["error"] == "PlanError: layer 0"


def test_a_run_that_was_ended_counts_up_to_its_last_whole_episode(tmp_path: Path) -> None:
    save(tmp_path, ENTRIES[:1], SEEDS)
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 4 * 3
    (tmp_path / "answers.jsonl").write_text("".join(lines[:8]) + lines[8][:20])
    (row,) = rows_of(tmp_path)
    assert (row["n"], row["episodes"]) == (4, 2)


def test_a_line_is_what_the_documentation_says(tmp_path: Path) -> None:
    save(tmp_path, ENTRIES[:1], SEEDS[:1])
    settings, question, _, end = map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())
    assert settings["memories"] == [{"name": "uniform at 18", "memory": "uniform", "budget": 18, "layers": None}]
    assert question["question"]["answer"] == "red ring"
    assert set(question["answers"]["uniform at 18"]) == {"text", "held_tokens", "bytes", "archive_bytes"}
    assert set(end["episode"]["uniform at 18"]) == {"budget_tokens", "ages", "times"}
    assert question["seed"] == end["seed"] == SEEDS[0]


def test_what_cannot_be_joined_is_refused_in_one_line(tmp_path: Path) -> None:
    save(tmp_path / "a", ENTRIES[:1], SEEDS)
    save(tmp_path / "b", ENTRIES[:1], SEEDS, every_s=2.0)
    save(tmp_path / "none", ENTRIES[:1], [])
    (tmp_path / "text").write_text("no json\n")
    (tmp_path / "rows").write_text('{"policy": "hermes"}\n')
    for names, message in (
        (["a", "b"], "join runs with the same settings"),
        (["none"], "no finished episode"),
        (["text"], "cannot read"),
        (["missing"], "cannot read"),
        (["rows"], "holds no answers"),
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            read_answers([tmp_path / name for name in names])
        assert "\n" not in str(caught.value)
