"""The command that docs/benchmarks.md gives for each benchmark, on its small data folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.evals.tasks import TASKS
from tests.cli.conftest import Done
from tests.evals.conftest import put_video
from tests.evals.published import PutVideo, published

pytestmark = pytest.mark.slow

Command = Callable[..., Done]
_DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_COMMANDS = dict(re.findall(r"^hermes-stream (eval (\w+) --data DATA .*)$", _DOCS.read_text(), re.MULTILINE))
COMMANDS = {name: words for words, name in _COMMANDS.items()}
JUDGED = {name for name, task in TASKS.items() if task.is_judged}

__all__ = ["put_video"]


def test_every_benchmark_that_reads_files_has_one() -> None:
    assert set(COMMANDS) == {name for name, task in TASKS.items() if task.needs_data}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_it_leaves_a_reply_to_every_question_and_a_report(
    command: Command, name: str, tmp_path: Path, put_video: PutVideo
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    published(name).write(data, put_video)
    given = {"DATA": data, "MODEL": "tiny-llava-onevision", "6000": 16, f"results/{name}": out}
    words = [given.get(word, word) for word in COMMANDS[name].split()]
    more = ["--judge", "fuzzy"] if name in JUDGED else []
    done = command(*words, *more, "--no-references", "--json")
    assert done.status == 0, done.err
    memories = [row for row in done.rows if row["kind"] == "memory"]
    assert {row["memory"] for row in memories} == {"hermes", "uniform"}
    assert {row["mode"] for row in memories} == set(TASKS[name].modes) - {"logits"}
    assert all(row["n"] and not row["n_unanswered"] for row in memories)
    assert command("report", out, *more, "--format", "markdown").out.startswith("**")
