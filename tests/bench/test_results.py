"""Numbers come with where they were measured, and can be read back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from hermes_stream import Engine, Query
from hermes_stream.bench.machine import Machine
from hermes_stream.bench.results import command_line, read_results, write_results
from hermes_stream.bench.timing import percentile_ms, time_question
from hermes_stream.errors import ConfigError
from tests.tiny import make_frames


def test_a_file_holds_rows_command_and_machine(tmp_path: Path) -> None:
    machine = Machine.here()
    path = write_results(tmp_path / "new" / "a.json", machine, "hermes-stream bench", {"frames": 3}, [{"x": 1.5}])
    content = read_results(path)
    assert content["rows"] == [{"x": 1.5}]
    assert (content["command"], content["settings"]) == ("hermes-stream bench", {"frames": 3})
    assert content["machine"] == json.loads(json.dumps(machine.as_row()))
    assert machine.torch == torch.__version__
    assert machine.threads == torch.get_num_threads()


def test_the_commit_is_that_of_the_running_source() -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=here, check=False
    )
    commit = Machine.here().commit
    assert (commit or "").removesuffix("+changes") == done.stdout.strip()


def test_commands_name_files_by_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", "latency", "--out", str(tmp_path / "results")]
    assert command_line("hermes-stream", arguments) == "hermes-stream bench latency --out results"


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"rows": 1}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="hermes-stream bench --out wrote"):
        read_results(path)


def test_percentiles_are_those_of_numpy_in_milliseconds() -> None:
    seconds = np.random.default_rng(0).exponential(size=37).tolist()
    for percent in (50, 95):
        expected = np.percentile(np.array(seconds) * 1000, percent)
        assert percentile_ms(seconds, percent) == pytest.approx(expected, abs=0.001)
    assert percentile_ms([0.002], 95) == 2


def test_a_question_is_timed_from_asking_to_its_tokens(engine: Engine) -> None:
    with engine.open("sliding-window", budget=36) as session:
        session.watch(make_frames(4))
        times = time_question(session, Query("What is left?", max_new_tokens=3))
        alone = time_question(session, Query("What is left?", max_new_tokens=1))
    assert times.ttft_seconds > 0
    assert alone.tpot_seconds is None
