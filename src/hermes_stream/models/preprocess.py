"""Frames to pixel values, as the checkpoint's own files say and without torchvision.

Shape letters: F frames, C channels, Y X height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from hermes_stream.errors import ModelError
from hermes_stream.types import Frame

# PIL's numbers, which the checkpoints' files use.
_RESAMPLE = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class FixedSizePreprocessor:
    """Resize every frame to one size, whatever its shape, then normalise (LLaVA-OneVision's way with video)."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale_factor: float
    resample: str

    @staticmethod
    def from_settings(settings: Mapping[str, Any]) -> FixedSizePreprocessor:
        """settings: the content of video_preprocessor_config.json or preprocessor_config.json.

        Raises ModelError naming what is missing: class defaults are not guessed, because they differ between
        families.
        """
        missing = [key for key in ("size", "image_mean", "image_std") if key not in settings]
        if missing:
            raise ModelError(f"the checkpoint's preprocessor file lacks {', '.join(missing)}; take the original file")
        size = settings["size"]
        height, width = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
        resample = settings.get("resample", 3)
        if resample not in _RESAMPLE:
            raise ModelError(f"the preprocessor file asks for resampling {resample}; supported: {_RESAMPLE}")
        return FixedSizePreprocessor(
            int(height),
            int(width),
            tuple(settings["image_mean"]),
            tuple(settings["image_std"]),
            float(settings.get("rescale_factor", 1 / 255)),
            _RESAMPLE[resample],
        )

    def __call__(self, frames: Sequence[Frame]) -> torch.Tensor:
        """float32 `[F, C, Y, X]`."""
        resized = torch.cat([self._resize(frame) for frame in frames]).float()
        # Rescaling and normalising in one step, as the stock processors do it, so that the pixels are bit-equal.
        mean = torch.tensor(self.mean)[:, None, None] / self.rescale_factor
        std = torch.tensor(self.std)[:, None, None] / self.rescale_factor
        return (resized - mean) / std

    def _resize(self, frame: Frame) -> torch.Tensor:
        image_FCYX = torch.tensor(frame.image_YXC).permute(2, 0, 1)[None].contiguous()
        if image_FCYX.shape[-2:] == (self.height, self.width):
            return image_FCYX
        # On uint8: the float path differs from the processors by up to 25 of 255 levels.
        return functional.interpolate(
            image_FCYX, size=(self.height, self.width), mode=self.resample, antialias=True, align_corners=False
        )
