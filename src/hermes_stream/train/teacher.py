"""A trained vision tower that another one imitates.

Shape letters: F frames, N tokens of a grid, E model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hermes_stream.train.families import Family
from hermes_stream.train.pixels import resize
from hermes_stream.train.vision import encode_frames
from hermes_stream.types import Frame


class Teacher:
    """See `families.Teacher`."""

    def __init__(self, family: Family, model: Any) -> None:
        self._family, self._model = family, model

    def __call__(self, frames: Sequence[Frame]) -> torch.Tensor:
        """bfloat16 `[F, N, E]`: for each frame its grid as it looks when this frame is the newest."""
        size = self._family.frame_size(*frames[0].image_YXC.shape[:2])
        return encode_frames(self._family, self._model, resize(frames, *size))
