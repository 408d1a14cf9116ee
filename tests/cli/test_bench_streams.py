"""`hermes-stream bench streams`: many streams at full speed and live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Command = Callable[..., Done]
# A bound that no machine misses, and then one that none can meet.
SMALL = {"--chunk": 2, "--budget": 18, "--seconds": 0.5, "--rounds": 1, "--answer-tokens": 2, "--fps": 2}


def test_rows_for_programs_and_files(command: Command, llava_folder: Path, tmp_path: Path) -> None:
    done = command(
        "bench", "streams", "--model", llava_folder, "--sessions", "1,3", *_flat(SMALL), "--json", "--out", tmp_path
    )
    assert done.status == 0, done.err
    assert [row["sessions"] for row in done.rows] == [1, 3]
    for row in done.rows:
        assert row["frames_per_second"] > 0 < row["alone_frames_per_second"]
        # One round: its ratio is that of the two rates.
        assert row["ratio"] == pytest.approx(row["frames_per_second"] / row["alone_frames_per_second"], abs=0.01)
        assert row["questions"] >= 1
        assert row["ttft_ms_p95"] >= row["ttft_ms_p50"] > 0
        assert row["dropped"] >= 0 <= row["lag_seconds"]
        assert row["machine"]["torch"]
    assert {path.name for path in tmp_path.iterdir()} == {"streams.json", "streams.png"}


def test_the_search_ends_at_what_misses_the_bound(command: Command, llava_folder: Path) -> None:
    impossible = "--search", "--ttft-bound-ms", 0.001
    done = command("bench", "streams", "--model", llava_folder, "--sessions", 1, *_flat(SMALL), *impossible)
    assert done.status == 0, done.err
    assert "p95 within 0.001 ms: 0 streams" in done.out
    assert "1 streams: " in done.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--sessions", "1,0", "'0' is no positive number"),
        ("--fps", "0", "--fps is 0; give a number above 0"),
        ("--seconds", "inf", "--seconds is inf"),
        ("--ttft-bound-ms", "-1", "--ttft-bound-ms is -1"),
        ("--rounds", "0", "--rounds is 0"),
        ("--memory", "hermes,uniform", "several policies; give one"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(command: Command, option: str, value: str, message: str) -> None:
    done = command("bench", "streams", *_flat({**SMALL, option: value}))
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1


def _flat(options: dict[str, object]) -> list[object]:
    return [part for pair in options.items() for part in pair]
