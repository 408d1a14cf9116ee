"""Published-format data folders with real videos in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_stream.evals.tasks import TASKS
from hermes_stream.shapestream import make_script, write_episode
from tests.evals.published import PutVideo, published

_SECONDS = 8.0


@pytest.fixture(scope="session")
def put_video(tmp_path_factory: pytest.TempPathFactory) -> PutVideo:
    """Puts a ShapeStream video of 8 s where it is told to, another one each of three times."""
    folder, kinds = tmp_path_factory.mktemp("videos"), 3
    made: list[Path] = []
    n_put = 0

    def put(path: Path) -> None:
        nonlocal n_put
        if len(made) < kinds:
            made.append(folder / f"{len(made)}.mp4")
            write_episode(make_script(900_000 + len(made), _SECONDS), made[-1], fps=4, width=128, height=72)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made[n_put % kinds], path)
        n_put += 1

    return put


@pytest.fixture(params=sorted(TASKS))
def name(request: pytest.FixtureRequest) -> str:
    """Each registered benchmark in turn."""
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path, put_video: PutVideo) -> Path:
    """Its tiny data folder, as published."""
    data = tmp_path / "data"
    data.mkdir()
    published(name).write(data, put_video)
    return data


@pytest.fixture
def data_of(tmp_path: Path, put_video: PutVideo) -> Callable[[str], Path]:
    """The same of a benchmark by its name."""

    def make(name: str) -> Path:
        data = tmp_path / name
        data.mkdir()
        published(name).write(data, put_video)
        return data

    return make
