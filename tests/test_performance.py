"""The performance page says what its files say, and the scripts behind it can be typed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hermes_stream.cli.main import app

PROJECT = Path(__file__).parent.parent
PAGE = PROJECT / "docs" / "performance.md"
SCRIPTS = [["performance.sh"], ["performance.sh", "--toy"], ["gpu.sh"], ["gpu.sh", "--toy"]]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("performance_page", PROJECT / "benchmarks" / "performance_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write(folder: Path, name: str, rows: list[dict[str, Any]], **settings: str) -> None:
    machine = {
        "processor": "P",
        "threads": 1,
        "accelerator": None,
        "torch": "2",
        "transformers": "5",
        "commit": "c0ffee",
    }
    content = {"command": "hermes-stream bench", "date": "2026-01-02", "machine": machine, "settings": settings}
    (folder / f"performance-{name}.json").write_text(json.dumps({**content, "rows": rows}))


def test_nobody_typed_a_number(page: ModuleType) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page.filled(text, page.Results(PROJECT / "benchmarks" / "results")) == text


def test_targets_are_met_missed_or_not_measured(page: ModuleType, tmp_path: Path) -> None:
    early = {"policy": "hermes", "frames": 64, "ttft_ms_p50": 10.0, "peak_bytes": 100}
    late = {"policy": "hermes", "frames": 36_000, "ttft_ms_p50": 10.4, "peak_bytes": 103}
    write(tmp_path, "tiny-latency", [early, late], model="tiny-llava-onevision", device="cpu")
    lines = page.block("targets cpu", page.Results(tmp_path)).splitlines()[2:]
    assert [line.split("|")[-2].strip() for line in lines] == ["met", "**not met**", *["not measured"] * 3]
    assert "1.040" in lines[0]
    assert "1.030" in lines[1]


@pytest.mark.parametrize(
    ("model", "device"), [("random:llava-onevision-7b", "cpu"), ("tiny-llava-onevision", "cuda:0")]
)
def test_a_rehearsal_meets_no_target(page: ModuleType, tmp_path: Path, model: str, device: str) -> None:
    write(tmp_path, "gpu-ingest", [{"policy": "hermes", "frames_per_second": 99.0}], model=model, device=device)
    assert "99" not in page.block("targets gpu", page.Results(tmp_path))
    write(tmp_path, "gpu-ingest", [{"frames_per_second": 99.0}], model="random:llava-onevision-7b", device="cuda:0")
    assert "| 99.0 | met |" in page.block("targets gpu", page.Results(tmp_path))


def test_streams_that_dropped_frames_meet_no_target(page: ModuleType, tmp_path: Path) -> None:
    rows = [{"sessions": 64, "ttft_ms_p95": 90.0, "dropped": 3}, {"sessions": 16, "ttft_ms_p95": 20.0, "dropped": 0}]
    write(tmp_path, "gpu-streams", rows, model="random:llava-onevision-7b", device="cuda")
    assert page.many_streams_ms(page.Results(tmp_path)) is None
    write(tmp_path, "gpu-streams", [{**rows[0], "dropped": 0}], model="random:llava-onevision-7b", device="cuda")
    assert page.many_streams_ms(page.Results(tmp_path)) == 90.0


def run_script(arguments: list[str], tmp_path: Path, failing: str = "never") -> tuple[int, str, list[list[str]]]:
    """A script with commands that only write down what they were asked; those with `failing` in them fail."""
    log, tools = tmp_path / "log", tmp_path / "tools"
    tools.mkdir()
    body = f"""#!/usr/bin/env bash
if [[ $1 == -c ]]; then echo hermes,uniform; exit; fi
printf '%s\\x1f' "$(basename "$0")" "$@" >>{log}; echo >>{log}
[[ "$*" != *{failing}* ]]
"""
    for name in ("hermes-stream", "python"):
        (tools / name).write_text(body)
        (tools / name).chmod(0o755)
    here = tmp_path / "project"
    (here / "benchmarks").mkdir(parents=True)
    for script in (PROJECT / "benchmarks").glob("*.sh"):
        (here / "benchmarks" / script.name).symlink_to(script)
    settings = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "OUT": str(tmp_path / "out")}
    script = [str(here / "benchmarks" / arguments[0]), *arguments[1:]]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=settings)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout, [line.split("\x1f")[:-1] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("arguments", SCRIPTS, ids=" ".join)
def test_scripts_type_what_the_command_line_takes(arguments: list[str], tmp_path: Path) -> None:
    status, said, commands = run_script(arguments, tmp_path)
    assert status == 0, said
    ours = [command[1:] for command in commands if command[0] == "hermes-stream"]
    assert len(ours) >= 8
    for command in ours:
        app.parse_args(command, print_error=False, exit_on_error=False)


def test_a_rehearsal_runs_the_same_parts(tmp_path: Path) -> None:
    for script in ("performance.sh", "gpu.sh"):
        folders = tmp_path / script / "full", tmp_path / script / "toy"
        for folder in folders:
            folder.mkdir(parents=True)
        full, toy = run_script([script], folders[0]), run_script([script, "--toy"], folders[1])
        assert re.findall(r"^(\S+): \d+ s$", full[1], re.MULTILINE) == re.findall(
            r"^(\S+): \d+ s$", toy[1], re.MULTILINE
        )


def test_a_part_that_fails_leaves_the_others(tmp_path: Path) -> None:
    status, said, commands = run_script(["gpu.sh"], tmp_path, failing="peers")
    assert status == 1
    assert "failed: gpu-peers" in said
    assert "latency" in commands[-1]
    assert "64,36000" in commands[-1]
