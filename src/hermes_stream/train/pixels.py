"""Frames of a script as the engine will see them: through a video codec and resized by the engine's own preprocessing.

Shape letters: F frames, C Y X channel, image height, width, N tokens of a grid, E model width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.errors import InvariantError
from hermes_stream.models.preprocess import resize_frame
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import Dice, Script, make_script
from hermes_stream.train.families import Family, Teacher
from hermes_stream.types import Frame
from hermes_stream.video.open import open_video
from hermes_stream.video.writer import write_video

# What the tiny families' preprocessor files share; 3 is bicubic.
PIXEL_SETTINGS = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def processor_files(
    settings: Mapping[str, Any], processor: str, video: str, image: str
) -> Mapping[str, Mapping[str, Any]]:
    """The preprocessor files of a checkpoint, by name; `video` and `image` are the stock classes."""
    return {
        "preprocessor_config.json": {**settings, "image_processor_type": image, "processor_class": processor},
        "video_preprocessor_config.json": {**settings, "video_processor_type": video, "processor_class": processor},
    }


# Common aspect ratios; large pictures are rarer because encoding them takes most of the time.
_SIZES = ((640, 360), *2 * ((320, 180),), *4 * ((192, 108),), *2 * ((160, 120),), *2 * ((128, 128),), (108, 192))
_QUALITY = (18, 23, 28)
_CODEC_FPS = 10.0
_MIDDLE = 127.5


@dataclass(frozen=True, eq=False)
class Clip:
    """A script sampled at regular times.

    pixels_FCYX: uint8, already resized for the model. shape: rows and columns of a grid's tokens.
    taught_FNE: what a teacher sees in each frame, where there is one.
    """

    script: Script
    fps: float
    times_seconds: tuple[float, ...]
    pixels_FCYX: torch.Tensor
    shape: tuple[int, int]
    taught_FNE: torch.Tensor | None = None


def make_clip(
    family: Family, seed: int, n_frames: int, fps: float, *, pace: float = 1.0, teacher: Teacher | None = None
) -> Clip:
    """Render, encode, decode and resize the frames of one seed; size, quality and phase are drawn from the seed."""
    dice = Dice(seed)
    width, height = dice.choice(_SIZES)
    phase_seconds = dice.uniform(0, 1 / fps)
    times = tuple(phase_seconds + index / fps for index in range(n_frames))
    script = make_script(seed, times[-1] + 1 / fps, pace=pace)
    frames = [render_frame(script, time, width, height) for time in times]
    decoded = through_codec(frames, crf=dice.choice(_QUALITY))
    size = family.frame_size(height, width)
    taught = None if teacher is None else teacher(decoded)
    return Clip(script, fps, times, resize(decoded, *size), family.grid_shape(*size), taught)


def through_codec(frames: Sequence[NDArray[np.uint8]], *, crf: int) -> list[Frame]:
    """What is left of the frames after an H.264 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, fps=_CODEC_FPS, crf=crf)
        with open_video(path, fps=None) as video:
            decoded = list(video)
    if len(decoded) != len(frames):
        raise InvariantError(f"{len(frames)} frames were encoded and {len(decoded)} decoded")
    return decoded


def resize(frames: Sequence[Frame], height: int, width: int) -> torch.Tensor:
    """uint8 `[F, C, Y, X]`, as the engine's own preprocessing resizes them."""
    return torch.cat([resize_frame(frame, height, width, "bicubic") for frame in frames])


def normalise(pixels_FCYX: torch.Tensor) -> torch.Tensor:
    """float32 in [-1, 1], as `PIXEL_SETTINGS` say."""
    return (pixels_FCYX.float() - _MIDDLE) / _MIDDLE
