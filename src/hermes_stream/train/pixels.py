"""Frames of a script as the engine will see them: through a video codec and resized by the engine's own preprocessing.

Shape letters: F frames, C Y X channel, image height, width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.errors import InvariantError
from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import Dice, Script, make_script
from hermes_stream.train.architecture import FRAME_PIXELS
from hermes_stream.types import Frame
from hermes_stream.video.open import open_video
from hermes_stream.video.writer import write_video

# SigLIP's numbers, as in the llava-onevision-qwen2 checkpoints; 3 is bicubic.
PREPROCESSOR_SETTINGS = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": FRAME_PIXELS, "width": FRAME_PIXELS},
}

# Common aspect ratios; large pictures are rarer because encoding them takes most of the time.
_SIZES = ((640, 360), *2 * ((320, 180),), *4 * ((192, 108),), *2 * ((160, 120),), *2 * ((128, 128),), (108, 192))
_QUALITY = (18, 23, 28)
_CODEC_FPS = 10.0
_MIDDLE = 127.5


@dataclass(frozen=True, eq=False)
class Clip:
    """A script sampled at regular times: uint8 pixels `[F, C, Y, X]`, already resized for the model."""

    script: Script
    fps: float
    times_seconds: tuple[float, ...]
    pixels_FCYX: torch.Tensor


def make_clip(seed: int, n_frames: int, fps: float, *, pace: float = 1.0) -> Clip:
    """Render, encode, decode and resize the frames of one seed; size, quality and phase are drawn from the seed."""
    dice = Dice(seed)
    width, height = dice.choice(_SIZES)
    phase_seconds = dice.uniform(0, 1 / fps)
    times = tuple(phase_seconds + index / fps for index in range(n_frames))
    script = make_script(seed, times[-1] + 1 / fps, pace=pace)
    frames = [render_frame(script, time, width, height) for time in times]
    decoded = through_codec(frames, crf=dice.choice(_QUALITY))
    return Clip(script, fps, times, resize(decoded))


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


def resize(frames: Sequence[Frame]) -> torch.Tensor:
    """uint8 `[F, C, 48, 48]`: the engine's pixel values with the normalisation undone, a quarter of the memory."""
    values_FCYX = FixedSizePreprocessor.from_settings(PREPROCESSOR_SETTINGS)(frames)
    return (values_FCYX * _MIDDLE + _MIDDLE).round().to(torch.uint8)


def normalise(pixels_FCYX: torch.Tensor) -> torch.Tensor:
    """float32 in [-1, 1], the inverse of the last step of `resize`."""
    return (pixels_FCYX.float() - _MIDDLE) / _MIDDLE
