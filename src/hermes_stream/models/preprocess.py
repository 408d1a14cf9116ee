"""Frames to pixel values, as the checkpoint's own files say and without torchvision.

Shape letters: F frames, C channels, Y X height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
        return FixedSizePreprocessor(
            int(height),
            int(width),
            tuple(settings["image_mean"]),
            tuple(settings["image_std"]),
            float(settings.get("rescale_factor", 1 / 255)),
            resample_mode(settings),
        )

    def __call__(self, frames: Sequence[Frame]) -> torch.Tensor:
        """float32 `[F, C, Y, X]`."""
        resized = torch.cat([resize_frame(frame, self.height, self.width, self.resample) for frame in frames])
        return normalise(resized, self.mean, self.std, self.rescale_factor)


def resample_mode(settings: Mapping[str, Any]) -> str:
    """PyTorch's name of the filter that a preprocessor file asks for. Raises ModelError for others."""
    resample = settings.get("resample", 3)
    if resample not in _RESAMPLE:
        raise ModelError(f"the preprocessor file asks for resampling {resample}; supported: {_RESAMPLE}")
    return _RESAMPLE[resample]


def resize_frame(frame: Frame, height: int, width: int, resample: str) -> torch.Tensor:
    """uint8 `[1, C, Y, X]`, bit-equal to what the stock processors make of it."""
    # Contiguous: flipped views have negative strides, which torch does not know. A copy: frames may be read-only.
    image_FCYX = torch.tensor(np.ascontiguousarray(frame.image_YXC)).permute(2, 0, 1)[None].contiguous()
    if image_FCYX.shape[-2:] == (height, width):
        return image_FCYX
    # On uint8: the float path differs from the processors by up to 25 of 255 levels.
    return functional.interpolate(image_FCYX, size=(height, width), mode=resample, antialias=True, align_corners=False)


def normalise(
    image_FCYX: torch.Tensor, mean: Sequence[float], std: Sequence[float], rescale_factor: float
) -> torch.Tensor:
    """float32: rescaling and normalising in one step, as the stock processors do it, so that pixels are bit-equal."""
    # Times the inverse: the division would differ in the last bit.
    mean_C11 = torch.tensor(mean)[:, None, None] * (1.0 / rescale_factor)
    std_C11 = torch.tensor(std)[:, None, None] * (1.0 / rescale_factor)
    return (image_FCYX.float() - mean_C11) / std_C11
