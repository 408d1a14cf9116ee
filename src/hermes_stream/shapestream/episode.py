"""An episode as a real video file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import Script
from hermes_stream.video.writer import write_video


def write_episode(
    script: Script,
    path: str | Path | BinaryIO,
    *,
    fps: float | Fraction = 24,
    width: int = 640,
    height: int = 360,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render the script's `duration_seconds` into a video file and return the number of frames.

    fps: any rate; frame i shows the moment i / fps.
    progress: called after each frame with the frames done and the frames in all.
    Raises ConfigError for a rate that is not positive or a size that cannot be drawn, SourceError if writing fails.
    """
    if not fps > 0:
        raise ConfigError(f"fps must be above 0, got {fps}")
    n_frames = max(1, round(script.duration_seconds * fps))
    write_video(path, _frames(script, n_frames, Fraction(fps), width, height, progress), fps=fps)
    return n_frames


def _frames(
    script: Script,
    n_frames: int,
    fps: Fraction,
    width: int,
    height: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[NDArray[np.uint8]]:
    for index in range(n_frames):
        yield render_frame(script, float(index / fps), width, height)
        if progress is not None:
            progress(index + 1, n_frames)
