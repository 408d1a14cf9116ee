"""What the golden arrays were made from: settings of the published checkpoints, and frames that need no file.

Only numpy, because two environments import this: the tests, and the one that has the official processors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The settings that lie beside the published weights. Qwen2.5-VL has one file for images and video, with bounds in the
# older spelling; the mean and deviation of LLaVA-OneVision are not those of its processor's class, which are CLIP's.
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PUBLISHED: dict[str, dict[str, Any]] = {
    "llava_onevision": {
        "do_rescale": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 384, "width": 384},
    },
    "qwen2_5_vl": {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": _CLIP_MEAN,
        "image_std": _CLIP_STD,
    },
    "qwen3_vl": {
        "size": {"longest_edge": 25165824, "shortest_edge": 4096},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    },
}


@dataclass(frozen=True, slots=True)
class Case:
    """A clip. max_pixels: of a frame; None where the family has one size for all."""

    family: str
    n_frames: int
    height: int
    width: int
    max_pixels: int | None = None

    @property
    def name(self) -> str:
        budget = "" if self.max_pixels is None else f"-{self.max_pixels}"
        return f"{self.family}-{self.n_frames}x{self.height}x{self.width}{budget}"

    def images(self) -> list[NDArray[np.uint8]]:
        """Ramps, rings and noise: smooth parts, edges, and what only an exact filter gets right."""
        y, x = np.mgrid[: self.height, : self.width]
        images = []
        for index in range(self.n_frames):
            ramp = 255 * x // max(self.width - 1, 1)
            rings = ((x - self.width // 3) ** 2 + (y - self.height // 2) ** 2) // 37 % 256
            noise = (x * 7919 + y * 104_729 + index * 1_299_709) * 2_654_435_761 // 65_536 % 256
            images.append(np.stack([ramp, (rings + 40 * index) % 256, noise], axis=-1).astype(np.uint8))
        return images


# Of a stream; the official processors are told the same.
QWEN2_5_PIXELS = 768 * 28 * 28
QWEN3_PIXELS = 256 * 32 * 32

CASES = [
    Case("llava_onevision", 2, 90, 160),
    Case("llava_onevision", 2, 160, 90),
    Case("llava_onevision", 1, 40, 30),
    Case("llava_onevision", 1, 720, 1280),
    Case("llava_onevision", 3, 384, 384),
    Case("qwen2_5_vl", 2, 120, 200, QWEN2_5_PIXELS),
    Case("qwen2_5_vl", 2, 200, 120, QWEN2_5_PIXELS),
    Case("qwen2_5_vl", 2, 20, 30, QWEN2_5_PIXELS),
    Case("qwen2_5_vl", 2, 1080, 1920, QWEN2_5_PIXELS),
    Case("qwen2_5_vl", 3, 84, 56, QWEN2_5_PIXELS),
    Case("qwen2_5_vl", 5, 360, 640, 40_000),
    Case("qwen2_5_vl", 2, 12, 900, QWEN2_5_PIXELS),
    Case("qwen3_vl", 2, 120, 200, QWEN3_PIXELS),
    Case("qwen3_vl", 2, 200, 120, QWEN3_PIXELS),
    Case("qwen3_vl", 2, 20, 100, QWEN3_PIXELS),
    Case("qwen3_vl", 2, 10, 12, QWEN3_PIXELS),
    Case("qwen3_vl", 2, 1080, 1920, QWEN3_PIXELS),
    Case("qwen3_vl", 3, 64, 96, QWEN3_PIXELS),
    Case("qwen3_vl", 6, 360, 640, 40_000),
]


def thin(pixels: NDArray[Any], *, n_rows: int = 16, step: int = 9) -> NDArray[Any]:
    """The part that is kept: of patches `[P, D]` some rows, evenly; of frames `[F, C, Y, X]` every ninth pixel."""
    if pixels.ndim == 2:
        return pixels[np.linspace(0, len(pixels) - 1, min(n_rows, len(pixels))).round().astype(int)]
    return pixels[:, :, ::step, ::step]
