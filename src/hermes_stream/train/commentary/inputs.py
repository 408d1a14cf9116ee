"""What a model family makes of the frames of a round: token ids, where they stand, and what the vision tower gets.

The same numbers as in the engine's adapters (tests hold them together), for stock models and without running them.
Shape letters: R position axes, N tokens of a round's frames, F frames, C Y X channel, image height, width.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hermes_stream.errors import ModelError
from hermes_stream.models import llava_onevision, qwen2_5_vl, qwen3_vl
from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.models.preprocess import FixedSizePreprocessor
from hermes_stream.types import Frame

TokenIds = Callable[[str], Sequence[int]]
# Times are floats: what is meant to be a whole unit must not be floored to the one below.
_TIME_SLACK = 1e-6


@dataclass(frozen=True, eq=False)
class RoundFrames:
    """Of one round's frames with their separators.

    ids: token ids, the video token where features go. position_RN: int64, as the adapter counts; `stand_at` moves them.
    """

    ids: tuple[int, ...]
    position_RN: torch.Tensor


class FrameInputs(ABC):
    """One family's frames. frames_per_grid: sampled frames that become one grid of tokens."""

    n_axes: int
    frames_per_grid: int
    prompts: CommentaryPrompts

    @abstractmethod
    def rounds(self, rounds: Sequence[Sequence[Frame]]) -> tuple[list[RoundFrames], dict[str, torch.Tensor]]:
        """Frames of each round, whole grids; and what `model_inputs` wants of them, joined along the first axis.

        Frames count from the beginning of the stream.
        """

    def model_inputs(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Keyword arguments of the stock forward out of a batch's."""
        return dict(inputs)


class Qwen25Inputs(FrameInputs):
    """Qwen2.5-VL: cells of a grid at one time."""

    n_axes = 3

    def __init__(self, config: Any, settings: Mapping[str, Any], max_pixels: int | None) -> None:
        self.prompts = qwen2_5_vl.COMMENTARY
        self._patches = qwen2_5_vl.make_patches(settings, max_pixels)
        self._patches.check_fits(config.vision_config)
        self.frames_per_grid = self._patches.temporal_patch_size
        self._tokens_per_second = config.vision_config.tokens_per_second
        self._video_id = config.video_token_id

    def rounds(self, rounds: Sequence[Sequence[Frame]]) -> tuple[list[RoundFrames], dict[str, torch.Tensor]]:
        patches, grids = self._patches([frame for frames in rounds for frame in frames])
        shapes = iter((grids[:, 1:] // self._patches.merge_size).tolist())
        spans = [self._span([(frame, next(shapes)) for frame in frames[:: self.frames_per_grid]]) for frames in rounds]
        return spans, {"pixel_values_videos": patches, "video_grid_thw": grids}

    def _span(self, grids: Sequence[tuple[Frame, list[int]]]) -> RoundFrames:
        """grids: the first frame of each, and its rows and columns."""
        parts = []
        for frame, (n_rows, n_columns) in grids:
            time = math.floor(self._tokens_per_second * frame.pts_seconds + _TIME_SLACK)
            parts.append(_cells(time, n_rows, n_columns))
        position_RN = torch.cat(parts, dim=1)
        return RoundFrames((self._video_id,) * position_RN.shape[1], position_RN)


class Qwen3Inputs(FrameInputs):
    """Qwen3-VL: every grid between its time in words and an end marker, one behind the other."""

    n_axes = 3

    def __init__(self, config: Any, settings: Mapping[str, Any], max_pixels: int | None, token_ids: TokenIds) -> None:
        self.prompts = qwen3_vl.COMMENTARY
        self._patches = qwen3_vl.make_patches(settings, max_pixels)
        self._patches.check_fits(config.vision_config)
        self.frames_per_grid = self._patches.temporal_patch_size
        self._token_ids = token_ids
        self._video_id = config.video_token_id

    def rounds(self, rounds: Sequence[Sequence[Frame]]) -> tuple[list[RoundFrames], dict[str, torch.Tensor]]:
        patches, grids = self._patches([frame for frames in rounds for frame in frames])
        shapes = iter((grids[:, 1:] // self._patches.merge_size).tolist())
        step = self.frames_per_grid
        spans = []
        for frames in rounds:
            pairs = [frames[start : start + step] for start in range(0, len(frames), step)]
            spans.append(self._span([(_mean_seconds(pair), next(shapes)) for pair in pairs]))
        return spans, {"pixel_values_videos": patches, "video_grid_thw": grids}

    def _span(self, grids: Sequence[tuple[float, list[int]]]) -> RoundFrames:
        """grids: mean time, rows and columns of each."""
        ids: list[int] = []
        parts: list[torch.Tensor] = []
        position = 0
        for seconds, (n_rows, n_columns) in grids:
            before = self._token_ids(qwen3_vl.TIME.format(seconds=seconds))
            after = self._token_ids(qwen3_vl.END)
            cells = _cells(0, n_rows, n_columns) + position + len(before)
            end = position + len(before) + max(n_rows, n_columns)
            parts += [_run(position, len(before)), cells, _run(end, len(after))]
            position = end + len(after)
            ids += [*before, *(self._video_id,) * cells.shape[1], *after]
        return RoundFrames(tuple(ids), torch.cat(parts, dim=1))


class LlavaInputs(FrameInputs):
    """LLaVA-OneVision: tokens of all frames in a row."""

    n_axes = 1
    frames_per_grid = 1

    def __init__(self, config: Any, settings: Mapping[str, Any]) -> None:
        self.prompts = llava_onevision.COMMENTARY
        self._preprocess = FixedSizePreprocessor.from_settings(settings)
        vision = config.vision_config
        self._per_frame = math.ceil(vision.image_size // vision.patch_size / 2) ** 2
        self._video_id = config.video_token_id if hasattr(config, "video_token_id") else config.video_token_index

    def rounds(self, rounds: Sequence[Sequence[Frame]]) -> tuple[list[RoundFrames], dict[str, torch.Tensor]]:
        pixels_FCYX = self._preprocess([frame for frames in rounds for frame in frames])
        counts = [len(frames) * self._per_frame for frames in rounds]
        spans = [RoundFrames((self._video_id,) * n, torch.arange(n)[None]) for n in counts]
        return spans, {"pixel_values_videos": pixels_FCYX}

    def model_inputs(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Embeddings: the stock forward would put its learned newline behind all frames."""
        rest = {name: value for name, value in inputs.items() if name not in ("input_ids", "pixel_values_videos")}
        ids_BT, pixels_FCYX = inputs["input_ids"], inputs["pixel_values_videos"]
        embedded_BTE = model.get_input_embeddings()(ids_BT)
        features = model.get_video_features(pixels_FCYX[None].to(embedded_BTE.dtype), return_dict=True).pooler_output[0]
        features_NE = features[: pixels_FCYX.shape[0] * self._per_frame].to(embedded_BTE.dtype)
        is_video_BTE = (ids_BT == self._video_id)[..., None].expand_as(embedded_BTE)
        return {**rest, "inputs_embeds": embedded_BTE.masked_scatter(is_video_BTE, features_NE)}


def frame_inputs(
    config: Any, settings: Mapping[str, Any], token_ids: TokenIds, max_pixels: int | None = None
) -> FrameInputs:
    """For a checkpoint's configuration and the content of its preprocessor file; ModelError for others."""
    match config.model_type:
        case "qwen2_5_vl":
            return Qwen25Inputs(config, settings, max_pixels)
        case "qwen3_vl":
            return Qwen3Inputs(config, settings, max_pixels, token_ids)
        case "llava_onevision":
            return LlavaInputs(config, settings)
    raise ModelError(f"commentary cannot be trained on {config.model_type!r}; take one of the engine's families")


def _cells(time: int, n_rows: int, n_columns: int) -> torch.Tensor:
    """int64 `[3, N]`: time, row and column of each cell."""
    cells_N2 = torch.cartesian_prod(torch.arange(n_rows), torch.arange(n_columns)).view(-1, 2)
    return torch.cat((torch.full((1, cells_N2.shape[0]), time), cells_N2.T))


def _run(start: int, n: int) -> torch.Tensor:
    return torch.arange(start, start + n).expand(3, -1)


def _mean_seconds(frames: Sequence[Frame]) -> float:
    return sum(frame.pts_seconds for frame in frames) / len(frames)
