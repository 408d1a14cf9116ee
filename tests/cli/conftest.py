"""Real commands on real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hermes_stream.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run the command line in this process: the same entry point, without a second import of torch."""

    def call(*arguments: object) -> Done:
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Done(status, out, err)

    return call


@pytest.fixture(scope="session")
def episode(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An evaluation episode as users would render it: mp4 at 24 fps and 640x360, and its questions."""
    folder = tmp_path_factory.mktemp("episode")
    video, questions = folder / "v.mp4", folder / "q.json"
    arguments = ["shapestream", "render", "--seed", 900_100, "--seconds", 64, "--out", video, "--questions", questions]
    assert run([str(argument) for argument in arguments]) == 0
    return video, questions
