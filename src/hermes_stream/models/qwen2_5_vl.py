"""Qwen2.5-VL: pairs of frames share a grid of patches merged 2x2; positions in time, height and width (M-RoPE).

Shape letters: N tokens, E model width, R position axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

import torch

from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Clip, StreamDefaults
from hermes_stream.models.checkpoint_adapter import Checkpoint, CheckpointAdapter, Prompts
from hermes_stream.models.commentary import chatml_commentary
from hermes_stream.models.flops import qwen2_5_vision_flops
from hermes_stream.models.patches import PatchPreprocessor, first_and_last, pixel_bounds
from hermes_stream.types import Frame, VisualTokens

_ASK = "{text}<|im_end|>\n<|im_start|>assistant\n"
_TURN = "{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n<|im_start|>user\n"
# The checkpoints' chat template, with one video in the user's turn.
PROMPTS = Prompts(
    prefix="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>",
    question="<|vision_end|>" + _ASK,
    question_first="<|vision_end|>" + _ASK,
    turn=_TURN,
)
# StreamingVLM, released code.
COMMENTARY = chatml_commentary(
    system="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    time="Time={start:.1f}-{end:.1f}s",
    vision_open="<|vision_start|>",
    vision_close="<|vision_end|>",
)
# Pixels of a frame in the family's video processor. The published files allow 21 times as many, more than a stream can
# pay for; `max_pixels` asks for more.
_MOST_PIXELS = 768 * 28 * 28
_LEAST_PIXELS = 128 * 28 * 28
# Times are floats: what is meant to be a whole unit must not be floored to the one below.
_TIME_SLACK = 1e-6


def make_patches(settings: Mapping[str, Any], max_pixels: int | None = None) -> PatchPreprocessor:
    """Preprocessing as the checkpoint's file says; max_pixels: of a frame, instead of the family's bound."""
    least, most = pixel_bounds(settings)
    most = min(int(most or _MOST_PIXELS), _MOST_PIXELS)
    least = min(int(least or _LEAST_PIXELS), most)
    return PatchPreprocessor.from_settings(settings, min_pixels=least, max_pixels=most).with_budget(max_pixels)


class Qwen2_5VLAdapter(CheckpointAdapter):  # noqa: N801
    """One Qwen2.5-VL checkpoint behind the `Adapter` protocol.

    Time is absolute: a grid stands `tokens_per_second` positions later for each second since the stream began, and rows
    and columns count from the end of the prefix, as in the stock model's whole clip. Text after frames resumes behind
    the largest position on any axis (transformers before 5) or, with text positions "overlap", behind the rows and
    columns, in overlap with the video's times (transformers 5).
    """

    family_defaults: ClassVar[StreamDefaults] = StreamDefaults(fps=1.0, chunk_frames=16, budget_tokens=4000)

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._patches = make_patches(checkpoint.preprocessor, checkpoint.max_pixels)
        self._patches.check_fits(checkpoint.model.config.vision_config)
        self._tokens_per_second = checkpoint.model.config.vision_config.tokens_per_second
        super().__init__(
            checkpoint,
            PROMPTS,
            COMMENTARY,
            family="qwen2.5-vl",
            n_axes=3,
            tokens_per_frame=self._patches.most_tokens,
            frames_per_grid=self._patches.temporal_patch_size,
            has_absolute_time=True,
        )

    def encoding_flops(self, frames: Sequence[Frame]) -> int:
        vision = self._model.config.vision_config
        return sum(qwen2_5_vision_flops(vision, *grid) for grid in self._patches.grids(frames))

    def embed_clips(
        self,
        clips: Sequence[Clip],
        *,
        wants_saliency: bool = False,  # noqa: ARG002
    ) -> list[VisualTokens]:
        patches, grids = self._patches([frame for clip in clips for frame in clip.frames])
        device = self.facts.device
        features = self._model.get_video_features(
            upload(patches, device).to(self.facts.dtype), upload(grids, device), return_dict=True
        ).pooler_output
        n_grids = [len(clip.frames) // self.facts.frames_per_grid for clip in clips]
        ends = list(accumulate(n_grids))
        return [
            self._tokens(clip, list(features[end - n : end]), grids[end - n : end].tolist())
            for clip, n, end in zip(clips, n_grids, ends, strict=True)
        ]

    def _tokens(self, clip: Clip, features: list[torch.Tensor], grids: list[list[int]]) -> VisualTokens:
        frames, since_seconds = clip.frames, clip.since_seconds
        step, merge = self._patches.temporal_patch_size, self._patches.merge_size
        pairs = [frames[start : start + step] for start in range(0, len(frames), step)]
        parts = [
            self._cells(index, pair, rows // merge, columns // merge, since_seconds)
            for index, (pair, (_, rows, columns)) in enumerate(zip(pairs, grids, strict=True))
        ]
        frame_N, position_RN, seconds_N = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
        return VisualTokens(
            embeddings_NE=torch.cat(features).to(self.facts.device),
            positions_RN=position_RN,
            n_positions=0,
            frame_N=frame_N,
            row_N=position_RN[1],
            column_N=position_RN[2],
            times_seconds_N=seconds_N,
            n_frames=len(frames),
            n_grids=len(pairs),
            grid_seconds_G2=first_and_last(pairs),
        )

    def _cells(
        self, index: int, pair: Sequence[Frame], n_rows: int, n_columns: int, since_seconds: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Number, positions `[3, N]` and time of each token of one grid."""
        time = math.floor(self._tokens_per_second * (pair[0].pts_seconds - since_seconds) + _TIME_SLACK)
        cells_N2 = torch.cartesian_prod(torch.arange(n_rows), torch.arange(n_columns)).view(-1, 2)
        n = cells_N2.shape[0]
        position_RN = torch.cat((torch.full((1, n), time), cells_N2.T))
        seconds = sum(frame.pts_seconds for frame in pair) / len(pair)
        return torch.full((n,), index), position_RN, torch.full((n,), seconds, dtype=torch.float64)
