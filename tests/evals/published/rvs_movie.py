"""The same of films: videos are arrays of one picture a second, questions say where their excerpt lies."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from hermes_stream.video import open_video
from tests.evals.published import Damage, PutVideo
from tests.evals.published.rvs_ego import ARGUMENTS as ARGUMENTS
from tests.evals.published.rvs_ego import rows

DAMAGE = Damage("movie/movienet_oe.json", "video_path", n_lost=2)


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "movie" / "videos").mkdir(parents=True)
    films = rows(".npy", clip_start_time=0, clip_end_time=8)
    (folder / "movie" / "movienet_oe.json").write_text(json.dumps(films))
    for film in films:
        with tempfile.TemporaryDirectory() as scratch:
            put_video(Path(scratch) / "film.mp4")
            with open_video(Path(scratch) / "film.mp4", fps=1.0) as video:
                pictures = np.stack([frame.image_YXC for frame in video])
        np.save(folder / "movie" / "videos" / f"{film['video_id']}.npy", pictures)
