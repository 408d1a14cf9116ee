"""Qwen3-VL: each pair of frames is announced by its time in words; DeepStack adds vision features to early layers.

Shape letters: N tokens, E model width, R position axes, T tokens of a separator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

import torch

from hermes_stream.memory.upload import upload
from hermes_stream.models.adapter import Clip, StreamDefaults
from hermes_stream.models.checkpoint_adapter import Checkpoint, CheckpointAdapter, Prompts
from hermes_stream.models.commentary import chatml_commentary
from hermes_stream.models.flops import qwen3_vision_flops
from hermes_stream.models.patches import PatchPreprocessor, first_and_last, pixel_bounds
from hermes_stream.types import Frame, VisualTokens

_ASK = "{text}<|im_end|>\n<|im_start|>assistant\n"
_TURN = "{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n<|im_start|>user\n"
PROMPTS = Prompts(prefix="<|im_start|>user\n", question=_ASK, question_first=_ASK, turn=_TURN)
# Grids bring their times and separators along.
COMMENTARY = chatml_commentary(system="", time="", vision_open="", vision_close="")
TIME = "<{seconds:.1f} seconds><|vision_start|>"
END = "<|vision_end|>"
# The family's processor budgets a whole clip, which a stream does not know: 256 tokens a frame unless told otherwise.
_TOKENS_PER_FRAME = 256
# For how many tokens a separator may take: three years.
_LONGEST_SECONDS = 99_999_999.9


def make_patches(settings: Mapping[str, Any], max_pixels: int | None = None) -> PatchPreprocessor:
    """Preprocessing as the checkpoint's file says; max_pixels: of a frame, instead of 256 tokens."""
    token_pixels = (int(settings.get("patch_size", 16)) * int(settings.get("merge_size", 2))) ** 2
    _, most_of_clip = pixel_bounds(settings)
    most = min(int(most_of_clip or 2**62), _TOKENS_PER_FRAME * token_pixels)
    return PatchPreprocessor.from_settings(
        settings, min_pixels=token_pixels, max_pixels=most, enlarges_narrow=True
    ).with_budget(max_pixels)


class Qwen3VLAdapter(CheckpointAdapter):
    """One Qwen3-VL checkpoint behind the `Adapter` protocol.

    Every pair of frames is a grid of its own, between separators that are ordinary text: its time (mean of the two
    frames, since the stream began), start and end of vision. Positions go on from one to the next on all axes.
    """

    family_defaults: ClassVar[StreamDefaults] = StreamDefaults(fps=2.0, chunk_frames=16, budget_tokens=4000)

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._patches = make_patches(checkpoint.preprocessor, checkpoint.max_pixels)
        self._patches.check_fits(checkpoint.model.config.vision_config)
        longest = TIME.format(seconds=_LONGEST_SECONDS) + END
        n_separators = len(checkpoint.tokenizer(longest, add_special_tokens=False)["input_ids"])
        super().__init__(
            checkpoint,
            PROMPTS,
            COMMENTARY,
            family="qwen3-vl",
            n_axes=3,
            tokens_per_frame=self._patches.most_tokens + n_separators,
            frames_per_grid=self._patches.temporal_patch_size,
            time_axes=(0, 1, 2),
            n_taps=len(checkpoint.model.config.vision_config.deepstack_visual_indexes),
        )

    def encoding_flops(self, frames: Sequence[Frame]) -> int:
        vision = self._model.config.vision_config
        return sum(qwen3_vision_flops(vision, *grid) for grid in self._patches.grids(frames))

    def embed_clips(
        self,
        clips: Sequence[Clip],
        *,
        wants_saliency: bool = False,  # noqa: ARG002
    ) -> list[VisualTokens]:
        patches, grids = self._patches([frame for clip in clips for frame in clip.frames])
        device = self.facts.device
        vision = self._model.get_video_features(
            upload(patches, device).to(self.facts.dtype), upload(grids, device), return_dict=True
        )
        # One tensor per tap, or one per tap and grid, depending on the version of transformers.
        taps = [tap if isinstance(tap, torch.Tensor) else torch.cat(list(tap)) for tap in vision.deepstack_features]
        n_grids = [len(clip.frames) // self.facts.frames_per_grid for clip in clips]
        ends = list(accumulate(n_grids))
        features = [list(vision.pooler_output[end - n : end]) for n, end in zip(n_grids, ends, strict=True)]
        n_visual = [sum(grid_NE.shape[0] for grid_NE in parts) for parts in features]
        taps_of = zip(*(tap.split(n_visual) for tap in taps), strict=True) if taps else [()] * len(clips)
        return [
            self._tokens(clip, parts, grids[end - n : end].tolist(), tuple(taps))
            for clip, parts, n, end, taps in zip(clips, features, n_grids, ends, taps_of, strict=True)
        ]

    def _tokens(
        self, clip: Clip, features: list[torch.Tensor], grids: list[list[int]], taps: tuple[torch.Tensor, ...]
    ) -> VisualTokens:
        frames = clip.frames
        step, merge = self._patches.temporal_patch_size, self._patches.merge_size
        pairs = [frames[start : start + step] for start in range(0, len(frames), step)]
        parts, position = [], 0
        for index, (pair, (_, rows, columns)) in enumerate(zip(pairs, grids, strict=True)):
            seconds = sum(frame.pts_seconds for frame in pair) / len(pair)
            part, position = self._span(
                index, seconds, seconds - clip.since_seconds, features[index], rows // merge, columns // merge,
                position,
            )  # fmt: skip
            parts.append(part)
        columns_of = [torch.cat(column, dim=-1) for column in zip(*(part[1:] for part in parts), strict=True)]
        position_RN, frame_N, row_N, column_N, seconds_N = columns_of
        return VisualTokens(
            embeddings_NE=torch.cat([part[0] for part in parts]),
            positions_RN=position_RN,
            n_positions=position,
            frame_N=frame_N,
            row_N=row_N,
            column_N=column_N,
            times_seconds_N=seconds_N,
            n_frames=len(frames),
            n_grids=len(pairs),
            grid_seconds_G2=first_and_last(pairs),
            is_text_N=row_N < 0,
            deepstack=taps,
        )

    def _span(
        self, index: int, seconds: float, shown: float, grid_NE: torch.Tensor, n_rows: int, n_columns: int, start: int
    ) -> tuple[tuple[torch.Tensor, ...], int]:
        """Embeddings, positions, frame, row, column and time of a grid with its separators; and the next position."""
        before_TE, after_TE = self._embed_text(TIME.format(seconds=shown)), self._embed_text(END)
        n_before, n_after = before_TE.shape[0], after_TE.shape[0]
        cells_2N = torch.cartesian_prod(torch.arange(n_rows), torch.arange(n_columns)).view(-1, 2).T
        corner = start + n_before
        end = corner + max(n_rows, n_columns)
        time_1N = torch.zeros(1, cells_2N.shape[1], dtype=torch.int64)
        position_RN = torch.cat(
            (
                torch.arange(start, corner).expand(3, -1),
                corner + torch.cat((time_1N, cells_2N)),
                torch.arange(end, end + n_after).expand(3, -1),
            ),
            dim=-1,
        )
        none_before, none_after = torch.full((2, n_before), -1), torch.full((2, n_after), -1)
        row_N, column_N = torch.cat((none_before, cells_2N, none_after), dim=-1)
        n = position_RN.shape[1]
        seconds_N = torch.full((n,), seconds, dtype=torch.float64)
        embeddings_NE = torch.cat((before_TE, grid_NE.to(before_TE), after_TE))
        return (embeddings_NE, position_RN, torch.full((n,), index), row_N, column_N, seconds_N), end + n_after
