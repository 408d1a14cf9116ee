"""`hermes-stream bench ingest`: a real file into a full memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.stages import PROBE, STAGES
from tests.cli.conftest import Done

Command = Callable[..., Done]


def test_shares_of_what_a_full_memory_takes(command: Command, llava_folder: Path, tmp_path: Path) -> None:
    small = "--model", llava_folder, "--frames", 8, "--chunk", 4, "--budget", 36
    done = command(
        "bench", "ingest", *small, "--memory", "hermes,sliding-window,recent-frames", "--json", "--out", tmp_path
    )
    assert done.status == 0, done.err
    hermes, window, recent = done.rows
    for row in done.rows:
        assert set(row["share"]) == {*STAGES, "other"} - {"sampling"}
        assert row["frames"] == 8
        assert row["frames_per_second"] == pytest.approx(8 / row["seconds"], rel=0.01)
        assert row["share"]["vision tower"] > 0
        assert row["share"]["video decode"] > 0
        # One thread does all but decoding.
        assert sum(share for name, share in row["share"].items() if name != "video decode") == pytest.approx(
            1, abs=1e-3
        )
        assert row["model"]
        assert row["machine"]["torch"]
    assert hermes["compressions"] == window["compressions"] == 2
    assert hermes["held_tokens"] == 36
    assert hermes["share"][PROBE] > 0 == window["share"][PROBE]
    assert hermes["policy_share"] > window["policy_share"] > 0
    assert (hermes["tokens_per_frame"], recent["tokens_per_frame"]) == (9, 0)
    assert recent["share"]["text model"] == 0
    assert (tmp_path / "ingest.json").exists()


def test_a_table_for_people(command: Command, llava_folder: Path) -> None:
    done = command("bench", "ingest", "--model", llava_folder, "--frames", 4, "--chunk", 4, "--budget", 36)
    assert done.status == 0, done.err
    for line in ("frames per second", "vision tower", "what policies add"):
        assert line in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frames", 0), "--frames is 0"),
        (("--chunk", 0), "--chunk is 0"),
        (("--frames", 6, "--chunk", 4), "no whole intervals of 4"),
        (("--memory", "hermse"), "did you mean hermes"),
        (("--memory", "hermes,hermes"), "lists hermes twice"),
        (("--device", "meta"), "holds no numbers"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(
    command: Command, llava_folder: Path, options: tuple[object, ...], message: str
) -> None:
    done = command("bench", "ingest", "--model", llava_folder, *options)
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1
