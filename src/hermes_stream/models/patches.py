"""Frames to flattened patches, as the Qwen-VL families take them, without torchvision.

Shape letters: F frames, C channels, Y X height and width, P patches, D values of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hermes_stream.errors import ConfigError, ModelError, UsageError
from hermes_stream.models.preprocess import normalise, resample_mode, resize_frame
from hermes_stream.types import Frame

_WIDEST_ASPECT_RATIO = 200


@dataclass(frozen=True)
class PatchPreprocessor:
    """Resize within a pixel budget per frame, normalise, and cut pairs of frames into patches.

    min_pixels, max_pixels: of one frame after resizing. Qwen3-VL's own processor budgets a whole clip, which a stream
    does not know; a stream therefore fixes the budget per frame.
    enlarges_narrow: a side below one token is first scaled up to it, the other side alike (Qwen3-VL).
    """

    patch_size: int
    merge_size: int
    temporal_patch_size: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale_factor: float
    resample: str
    enlarges_narrow: bool = False

    @staticmethod
    def from_settings(
        settings: Mapping[str, Any], *, min_pixels: int, max_pixels: int, enlarges_narrow: bool = False
    ) -> PatchPreprocessor:
        """settings: the content of the checkpoint's preprocessor file. Raises ModelError naming what is missing."""
        missing = [key for key in ("patch_size", "merge_size", "image_mean", "image_std") if key not in settings]
        if missing:
            raise ModelError(f"the checkpoint's preprocessor file lacks {', '.join(missing)}; take the original file")
        return PatchPreprocessor(
            patch_size=int(settings["patch_size"]),
            merge_size=int(settings["merge_size"]),
            temporal_patch_size=int(settings.get("temporal_patch_size", 2)),
            min_pixels=min_pixels,
            max_pixels=max_pixels,
            mean=tuple(settings["image_mean"]),
            std=tuple(settings["image_std"]),
            rescale_factor=float(settings.get("rescale_factor", 1 / 255)),
            resample=resample_mode(settings),
            enlarges_narrow=enlarges_narrow,
        )

    def check_fits(self, vision_config: Any) -> None:
        """Raise ModelError if the vision tower was made for patches of another size."""
        wanted = vision_config.patch_size, vision_config.spatial_merge_size, vision_config.temporal_patch_size
        found = self.patch_size, self.merge_size, self.temporal_patch_size
        if found != wanted:
            raise ModelError(
                f"pixels a patch, patches a token, frames a grid: {found} in the preprocessor file, in the model "
                f"{wanted}; take the checkpoint's original files"
            )

    @property
    def factor(self) -> int:
        """Sides are multiples of this: the pixels of one token."""
        return self.patch_size * self.merge_size

    @property
    def most_tokens(self) -> int:
        """Tokens of a frame that uses the whole pixel budget."""
        return self.max_pixels // self.factor**2

    def with_budget(self, max_pixels: int | None) -> PatchPreprocessor:
        """Another budget, if one is given. Raises ConfigError for one below a single token."""
        if max_pixels is None:
            return self
        if max_pixels < self.factor**2:
            raise ConfigError(f"max_pixels is {max_pixels}; one token takes {self.factor**2} pixels")
        return replace(self, max_pixels=max_pixels, min_pixels=min(self.min_pixels, max_pixels))

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing: multiples of `factor`, the shape kept as far as that allows.

        Raises UsageError for a picture that is more than 200 times as long as wide.
        """
        if max(height, width) > _WIDEST_ASPECT_RATIO * min(height, width):
            raise UsageError(f"a frame of {width}x{height} pixels is too narrow; the ratio may be up to 200")
        factor = self.factor
        if self.enlarges_narrow and min(height, width) < factor:
            scale = max(factor / height, factor / width)
            height, width = int(height * scale), int(width * scale)
        rows, columns = round(height / factor) * factor, round(width / factor) * factor
        if rows * columns > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows = max(factor, math.floor(height / shrink / factor) * factor)
            columns = max(factor, math.floor(width / shrink / factor) * factor)
        elif rows * columns < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows = math.ceil(height * grow / factor) * factor
            columns = math.ceil(width * grow / factor) * factor
        return rows, columns

    def grids(self, frames: Sequence[Frame]) -> list[tuple[int, int]]:
        """Rows and columns of patches of each grid that these frames become."""
        sizes = [self.target_size(*first.image_YXC.shape[:2]) for first in frames[:: self.temporal_patch_size]]
        return [(height // self.patch_size, width // self.patch_size) for height, width in sizes]

    def __call__(self, frames: Sequence[Frame]) -> tuple[torch.Tensor, torch.Tensor]:
        """Patches float32 `[P, D]` and grids int64 `[n_grids, 3]` (1, rows, columns of patches).

        The number of frames must be a multiple of `temporal_patch_size`; each group takes the size of its first frame.
        """
        step = self.temporal_patch_size
        groups = [frames[start : start + step] for start in range(0, len(frames), step)]
        parts, grids = [], []
        for group in groups:
            size = self.target_size(*group[0].image_YXC.shape[:2])
            pixels = torch.cat([resize_frame(frame, *size, self.resample) for frame in group])
            parts.append(self._cut(normalise(pixels, self.mean, self.std, self.rescale_factor)))
            grids.append((1, size[0] // self.patch_size, size[1] // self.patch_size))
        return torch.cat(parts), torch.tensor(grids)

    def _cut(self, pixels_FCYX: torch.Tensor) -> torch.Tensor:
        """One grid: rows in the order (y, x, inner y, inner x) of merged cells, columns (channel, time, y, x)."""
        n_frames, n_channels, height, width = pixels_FCYX.shape
        patch, merge = self.patch_size, self.merge_size
        cells = pixels_FCYX.view(
            n_frames, n_channels, height // patch // merge, merge, patch, width // patch // merge, merge, patch
        )
        ordered = cells.permute(2, 5, 3, 6, 1, 0, 4, 7)
        return ordered.reshape(height * width // patch**2, n_channels * n_frames * patch**2)


def pixel_bounds(settings: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Least and most pixels that a checkpoint's file names, in either spelling; None where it names none."""
    size = settings.get("size") or {}
    return settings.get("min_pixels") or size.get("shortest_edge"), settings.get("max_pixels") or size.get(
        "longest_edge"
    )


def first_and_last(pairs: Sequence[Sequence[Frame]]) -> torch.Tensor:
    """Times of the first and the last frame of each grid, float64 `[n_grids, 2]`."""
    return torch.tensor([[pair[0].pts_seconds, pair[-1].pts_seconds] for pair in pairs], dtype=torch.float64)
