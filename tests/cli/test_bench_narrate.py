"""`hermes-stream bench narrate`: a commentary's seconds, memory against memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.tiny import save_checkpoint

Command = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("checkpoints") / "qwen"
    return save_checkpoint("qwen2_5_vl", place, num_hidden_layers=2, max_position_embeddings=640)


def test_rows_for_programs_and_a_file(command: Command, folder: Path, tmp_path: Path) -> None:
    """Full attention holds ever more and ends where positions do; the others are flat."""
    memories = "streaming-vlm(seconds=3,text_head=8,text_tail=8),keep-all,recent-frames(frames=3)"
    small = "--model", folder, "--steps", 20, "--tokens", 4, "--budget", 800
    done = command("bench", "narrate", *small, "--memory", memories, "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    bounded, everything, again = done.rows
    assert "positions do not fit" in everything["ended"] or "does not fit" in everything["ended"]
    assert everything["steps"] < 20
    assert bounded["steps"] == again["steps"] == 20
    assert everything["held_last"] > everything["held_first"]
    for row in done.rows:
        assert row["token_ms_last"] == pytest.approx(row["step_ms_last"] / 4, abs=0.01)
        assert row["available_per_second"] > 0
        assert row["needed_per_second"] == 4
        assert row["lag_per_second"] == pytest.approx(max(row["step_ms_last"] / 1000 - 1, 0), abs=1e-3)
        assert row["machine"]["torch"]
    content = json.loads((tmp_path / "narrate.json").read_text())
    assert content["command"].startswith("hermes-stream")
    assert [row["memory"] for row in content["rows"]] == [row["memory"] for row in done.rows]


def test_a_table_for_people_and_a_live_source(command: Command, folder: Path) -> None:
    small = "--model", folder, "--steps", 4, "--tokens", 2, "--budget", 500, "--memory", "sliding-window", "--live", 2
    done = command("bench", "narrate", *small)
    assert done.status == 0, done.err
    for line in ("ms per token, first and last", "frames per second, sustained", "live: most seconds behind"):
        assert line in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", 0), "--steps is 0"),
        (("--live", -1), "--live is -1"),
        (("--memory", "hermse"), "did you mean hermes"),
    ],
)
def test_bad_options_are_one_line(command: Command, options: tuple[object, ...], message: str) -> None:
    done = command("bench", "narrate", *options)
    assert done.status == 2
    assert message in done.err
