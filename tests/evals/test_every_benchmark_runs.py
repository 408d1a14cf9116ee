"""Every registered benchmark through the runner: its tiny data folder, a real model, every question, every reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_stream.evals.benchmark_run import BenchmarkRun
from hermes_stream.evals.estimates import Estimator, differences, task_names
from hermes_stream.evals.lineup import Lineup, make_entries
from hermes_stream.evals.manifest import describe_run
from hermes_stream.evals.reply_log import ReplyLog, Shard, read_replies
from hermes_stream.models.load import load_adapter
from tests.evals.test_benchmark_run import Listening
from tests.evals.test_task_contract import load


@pytest.fixture(scope="module")
def lineup() -> Iterator[Lineup]:
    with Lineup(load_adapter("tiny-llava-onevision")) as lineup:
        lineup.enter(make_entries(["hermes"], [16]), 8.0)
        yield lineup


def test_every_question_has_a_reply_and_every_reading_numbers(
    name: str, folder: Path, lineup: Lineup, tmp_path: Path
) -> None:
    task, loaded = load(name, folder)
    out, listener = tmp_path / "out", Listening()
    run = BenchmarkRun(lineup, task, loaded, folder, {}, Shard(), wants_logits=True)
    with ReplyLog(out, Shard()) as log:
        run.run(log, listener)
    replies = read_replies(out).by_entry["hermes at 16"]
    asked = {ask.key for item in loaded.items for ask in task.polls(item)}
    assert asked <= set(replies)
    assert listener.failures == []
    assert [reply.error for reply in replies.values() if reply.error is not None] == []
    estimator = Estimator(item.video for item in loaded.items)
    for mode in task.modes:
        scores = task.score(loaded.items, replies, mode)
        assert scores.n_unanswered == 0
        names = [average.name for average in scores.averages] + task_names(scores)
        assert mode == "official" or estimator.cells(scores, names)
        assert all(cell["value"] == 0 for cell in estimator.cells(differences(scores, scores), names).values())
    known = {"hermes at 16": read_replies(out).answered("hermes at 16")}
    assert BenchmarkRun(lineup, task, loaded, folder, known, Shard()).n_left == 0


def test_the_manifest_of_every_benchmark_says_how_it_was_asked(name: str, folder: Path, lineup: Lineup) -> None:
    task, loaded = load(name, folder)
    said = describe_run(lineup, task, loaded, folder, identity={"revision": None, "sha256": None})
    assert said["bench"] == name
    assert said["setting"]["splits"] == list(task.splits)
    assert len(said["prompt"]["sha256"]) == 64
    assert said == describe_run(lineup, task, loaded, folder, identity={"revision": None, "sha256": None})
