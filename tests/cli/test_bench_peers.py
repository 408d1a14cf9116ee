"""`hermes-stream bench peers`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done

Command = Callable[..., Done]
SMALL = "--model=tiny-llava-onevision", "--frames=4", "--budget=8", "--questions=1", "--answer-tokens=2"


def test_rows_for_programs_a_table_for_people_and_files(command: Command, tmp_path: Path) -> None:
    done = command("bench", "peers", *SMALL, "--json", "--out", tmp_path)
    assert done.status == 0, done.err
    assert len(done.rows) == 4
    assert all(set(row) >= {"name", "ttft_ms_p50", "tpot_ms", "peak_bytes", "machine"} for row in done.rows)
    saved = json.loads((tmp_path / "peers.json").read_text())
    assert [row["name"] for row in saved["rows"]] == [row["name"] for row in done.rows]
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    table = command("bench", "peers", *SMALL)
    assert table.out.splitlines()[1].startswith("transformers.generate, window re-prefilled")
    assert "encoding a frame takes" in table.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frames=0"], "--frames is 0"),
        (["--frames=9999"], "--frames is 9999, but"),
        (["--questions=0"], "--questions is 0"),
        (["--model=tiny-qwen3-vl"], "use a LLaVA-OneVision"),
    ],
)
def test_mistakes_end_with_status_2_and_one_line(command: Command, arguments: list[str], message: str) -> None:
    done = command(
        "bench", "peers", *[option for option in SMALL if option.split("=")[0] not in arguments[0]], *arguments
    )
    assert done.status == 2
    assert message in done.err
    assert sum(line.startswith("error: ") for line in done.err.splitlines()) == 1
