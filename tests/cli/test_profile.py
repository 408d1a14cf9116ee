"""`--profile FILE`: a trace with the names of the stages, of every thread."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.stages import STAGES
from hermes_stream.video.writer import write_video
from tests.cli.conftest import Done
from tests.tiny import make_frames

Command = Callable[..., Done]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, (frame.image_YXC for frame in make_frames(8)), fps=1)
    return path


def ranges(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The named ranges of a trace that Chrome can show, by name."""
    content = path.read_bytes()
    events = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["traceEvents"]
    by_name: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.get("cat") == "user_annotation":
            by_name.setdefault(event["name"], []).append(event)
    return by_name


def test_a_trace_of_ask_has_every_stage(command: Command, clip: Path, llava_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.json.gz"
    model = "--model", llava_folder, "--memory", "hermes(reindex=eager, budget=36)"
    done = command("ask", clip, "--question", "end=What?", *model, "--profile", path, "--json")
    assert done.status == 0, done.err
    found = ranges(path)
    assert set(STAGES) <= set(found)
    # Decoding has a thread of its own, and everything else the engine's.
    assert {event["tid"] for event in found["video decode"]} != {event["tid"] for event in found["text model"]}


def test_bench_takes_it_too(command: Command, llava_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    small = "--frames", 4, "--budget", 36, "--intervals", 1
    assert command("bench", "memory", "--model", llava_folder, *small, "--profile", path).status == 0
    assert "re-placement" in ranges(path)


def test_a_place_where_nothing_can_be_written_is_refused_first(command: Command, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "trace.json"):
        done = command("ask", "no-such-video.mp4", "--question", "end=What?", "--profile", path)
        assert done.status == 2
        assert f"--profile {path}: give a file in a folder that exists" in done.err
