"""A random tiny checkpoint of each family, a short video, and chunks of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hermes_stream.shapestream import make_script, write_episode
from hermes_stream.train.commentary.layout import TextLimits
from hermes_stream.train.commentary.records import AskedMidway, Record, write_records
from hermes_stream.train.commentary.training import Setup, Stage, prepare
from hermes_stream.types import TimedWord
from tests.tiny import save_checkpoint

FAMILIES = ["llava_onevision", "qwen2_5_vl", "qwen3_vl"]
FPS = 2.0
VIDEO = "video.mp4"

RECORDS = [
    Record(
        VIDEO,
        0.0,
        3.0,
        (TimedWord(0.5, 1.0, "red"), TimedWord(1.0, 2.0, "circle")),
        query="Say it.",
        asked=(AskedMidway("1", 2.0, "Which colour?", "red"),),
    ),
    Record(VIDEO, 2.0, 4.0, (TimedWord(3.0, 3.5, "yes"),), previous="red circle left"),
]


@dataclass(frozen=True)
class Workplace:
    """A checkpoint folder, records of two chunks, and the folder of their video."""

    model: Path
    records: Path
    videos: Path

    def stage(self, out: Path, **settings: object) -> Stage:
        """In float32, without warm-up or more than the two chunks at once."""
        chosen: dict[str, object] = {
            "model": str(self.model),
            "records": (self.records,),
            "fps": FPS,
            "limits": TextLimits(4, 4),
            "batch": 2,
            "accumulation": 1,
            "warmup_share": 0.0,
            "bf16": False,
            "learning_rate": 1e-3,
            "checkpoints_gradients": False,
        }
        return Stage(videos=self.videos, out=out, **(chosen | settings))  # type: ignore[arg-type]

    def setup(self, **settings: object) -> Setup:
        """Prepared, nothing run."""
        return prepare(self.stage(self.model.parent / "out", **settings))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five seconds of ShapeStream."""
    folder = tmp_path_factory.mktemp("videos")
    write_episode(make_script(5, 5.0), folder / VIDEO, fps=4, width=64, height=36)
    return folder


def workplace_of(family: str, folder: Path, videos: Path) -> Workplace:
    """Freshly written into a folder."""
    model = save_checkpoint(family, folder / "model")
    write_records(folder / "chunks", RECORDS)
    return Workplace(model, folder / "chunks", videos)


@pytest.fixture(params=FAMILIES)
def workplace(request: pytest.FixtureRequest, tmp_path: Path, videos: Path) -> Workplace:
    """Of every family in turn."""
    return workplace_of(request.param, tmp_path, videos)


@pytest.fixture
def qwen(tmp_path: Path, videos: Path) -> Workplace:
    """Where the family does not matter."""
    return workplace_of("qwen2_5_vl", tmp_path, videos)
