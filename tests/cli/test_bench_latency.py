"""`hermes-stream bench latency`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Command = Callable[..., Done]
SMALL = {
    "--model": "tiny-llava-onevision", "--memory": "sliding-window", "--frames": "4,6", "--budget": "16",
    "--questions": "1", "--answer-tokens": "2",
}  # fmt: skip
FIELDS = {"policy", "frames", "chunk", "ttft_ms_p50", "ttft_ms_p95", "tpot_ms", "peak_bytes", "pending_ms", "machine"}


def test_rows_for_programs_a_table_for_people_and_files(command: Command, tmp_path: Path) -> None:
    done = command("bench", "latency", *_flat(SMALL), "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    assert [(row["policy"], row["frames"], row["chunk"]) for row in done.rows] == [
        ("sliding-window", 4, 4),
        ("sliding-window", 6, 4),
    ]
    assert all(set(row) >= FIELDS for row in done.rows)
    assert "6 frames against 4: ttft x" in done.err
    saved = json.loads((tmp_path / "latency.json").read_text())
    assert [row["frames"] for row in saved["rows"]] == [4, 6]
    assert saved["settings"]["growth"][0]["peak_ratio"] >= 1
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
    table = command("bench", "latency", *_flat({**SMALL, "--frames": "4", "--chunk": "2,4"}))
    assert [line.split()[:3] for line in table.out.splitlines()[1:3]] == [
        ["sliding-window", "2", "4"],
        ["sliding-window", "4", "4"],
    ]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--frames", "16,many", "'many' is no positive number"),
        ("--frames", "0", "'0' is no positive number"),
        ("--frames", "8,8", "lists a number twice"),
        ("--chunk", "-4", "'-4' is no positive number"),
        ("--questions", "0", "--questions is 0"),
        ("--answer-tokens", "0", "--answer-tokens is 0"),
        ("--memory", "hermse", "did you mean hermes"),
        ("--memory", "hermes,hermes", "lists hermes twice"),
        ("--budget", "3", "cannot hold one frame"),
        ("--device", "meta", "no numbers to compute with"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(command: Command, option: str, value: str, message: str) -> None:
    done = command("bench", "latency", *_flat({**SMALL, option: value}))
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1


def _flat(options: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items()]
