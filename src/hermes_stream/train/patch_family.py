"""What the Qwen families share: pairs of frames cut into patches, small frames that keep their shape.

Shape letters: G grids, F frames of a grid, C Y X channel, image height, width, N tokens of a grid, E model width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from transformers import PreTrainedTokenizerFast

from hermes_stream.models.patches import PatchPreprocessor
from hermes_stream.train.families import Family
from hermes_stream.train.pixels import PIXEL_SETTINGS, processor_files
from hermes_stream.train.pupils import load_bundled, pupil_tokenizer
from hermes_stream.train.teacher import Teacher
from hermes_stream.train.tiny_llava import TinyLlava
from hermes_stream.types import Frame

_MERGE = 2
# Cells of a frame: two by three where there is room for seven, two by two in small or square ones.
_LEAST_CELLS, _MOST_CELLS = 4.0, 7.14


class PatchFamily(Family):
    """The half of `families.Family` that is the same for both; subclasses say the rest.

    patch_size: pixels. processor, video_processor: the stock classes, for the preprocessor files.
    """

    n_axes: ClassVar[int] = 3
    frames_per_grid: ClassVar[int] = 2
    position_limit: ClassVar[int] = 2048
    has_newline: ClassVar[bool] = False
    # Two frames a second is what the checkpoints are made for; the others keep them from counting on it.
    rates: ClassVar[tuple[float, ...]] = (*(2.0,) * 6, 1.0, 3.0, 4.0)
    warmup_rate: ClassVar[float] = 2.0
    stream_defaults: ClassVar[Mapping[str, float]] = {"fps": 2.0, "chunk": 8, "budget": 96}
    patch_size: ClassVar[int]
    processor: ClassVar[str]
    video_processor: ClassVar[str]

    @property
    def processors(self) -> Mapping[str, Mapping[str, Any]]:
        pixels = (self.patch_size * _MERGE) ** 2
        settings = {
            **PIXEL_SETTINGS,
            "patch_size": self.patch_size,
            "merge_size": _MERGE,
            "temporal_patch_size": self.frames_per_grid,
            "size": {"shortest_edge": round(_LEAST_CELLS * pixels), "longest_edge": round(_MOST_CELLS * pixels)},
        }
        return processor_files(settings, self.processor, self.video_processor, "Qwen2VLImageProcessor")

    @cached_property
    def _patches(self) -> PatchPreprocessor:
        settings = self.processors["video_preprocessor_config.json"]
        size = settings["size"]
        return PatchPreprocessor.from_settings(
            settings, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
        )

    def make_tokenizer(self) -> PreTrainedTokenizerFast:
        return pupil_tokenizer()

    def make_teacher(self) -> Teacher:
        """`tiny-llava-onevision`."""
        return Teacher(TinyLlava(), load_bundled(TinyLlava.name))

    def frame_size(self, height: int, width: int) -> tuple[int, int]:
        return self._patches.target_size(height, width)

    def grid_shape(self, height: int, width: int) -> tuple[int, int]:
        return height // self._patches.factor, width // self._patches.factor

    def encode(self, model: Any, pixels_GFCYX: torch.Tensor) -> torch.Tensor:
        """See `families.Family`; DeepStack's taps stand behind the features of each token."""
        images = pixels_GFCYX.flatten(0, 1).permute(0, 2, 3, 1).numpy()
        patches, grids = self._patches([Frame(0.0, image) for image in images])
        vision = model.get_video_features(patches.to(model.dtype), grids, return_dict=True)
        taps = [torch.cat(list(tap)) if not isinstance(tap, torch.Tensor) else tap for tap in _taps(vision)]
        features = torch.cat((torch.cat(list(vision.pooler_output)), *taps), dim=-1)
        features_GNE: torch.Tensor = features.unflatten(0, (len(pixels_GFCYX), -1))
        return features_GNE

    def vision_weights(self, model: Any) -> list[torch.nn.Parameter]:
        return list(model.model.visual.parameters())

    def last_vision_layer(self, model: Any) -> torch.nn.Linear:
        merger = model.model.visual.merger
        layer: torch.nn.Linear = merger.mlp[-1] if hasattr(merger, "mlp") else merger.linear_fc2
        return layer

    def newline(self, model: Any) -> None:  # noqa: ARG002
        return


def _taps(vision: Any) -> list[Any]:
    return list(getattr(vision, "deepstack_features", None) or [])
