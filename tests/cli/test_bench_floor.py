"""`hermes-stream bench floor`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.bench.machine import Machine
from hermes_stream.bench.results import write_results
from tests.cli.conftest import Done

Command = Callable[..., Done]
MODEL = "tiny-llava-onevision"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    row = {
        "policy": "hermes",
        "frames": 64,
        "held_tokens": 64,
        "question_tokens": 62,
        "ttft_ms_p50": 18.0,
        "tpot_ms": 9.0,
    }
    return write_results(tmp_path / "latency.json", Machine.here(), "", {"model": MODEL}, [row])


def test_figures_of_a_file_beside_their_floors(command: Command, results: Path, tmp_path: Path) -> None:
    done = command("bench", "floor", "--model", MODEL, "--results", results, "--json", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    assert [(row["figure"], row["measured_ms"]) for row in done.rows] == [
        ("question of 62 tokens", 18),
        ("decode step", 9),
    ]
    assert "GFLOP/s" in done.err
    assert (tmp_path / "out" / "floor.png").read_bytes().startswith(b"\x89PNG")
    table = command("bench", "floor", "--model", MODEL, "--results", results).out.splitlines()
    assert table[1].startswith("question of 62 tokens · hermes, 64 frames, 64 held")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--model": "tiny-qwen3-vl"}, "the results are of tiny-llava-onevision"),
        ({"--results": "nowhere.json"}, "not readable as JSON"),
        ({"--device": "meta"}, "no numbers to compute with"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, results: Path, options: dict[str, str], message: str
) -> None:
    wanted = {"--model": MODEL, "--results": str(results), **options}
    done = command("bench", "floor", *[f"{name}={value}" for name, value in wanted.items()])
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1
