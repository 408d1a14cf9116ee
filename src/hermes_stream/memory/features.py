"""Encoded frames that wait outside the text model, for policies that run them through it at question time.

Shape letters: N tokens, E model width, R position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hermes_stream.memory.shape import MemoryShape
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """One frame's visual tokens under its number in the stream, positions as the adapter gave them."""

    frame: int
    tokens: VisualTokens

    @property
    def n_tokens(self) -> int:
        return self.tokens.embeddings_NE.shape[0]

    @property
    def n_bytes(self) -> int:
        held = (self.tokens.embeddings_NE, *self.tokens.deepstack)
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def split_frames(tokens: VisualTokens, first_frame: int) -> tuple[FrameFeatures, ...]:
    """One entry per frame. Embeddings are copied, not shared; positions stay as they are."""
    parts = []
    for index in range(tokens.n_grids):
        rows = tokens.frame_N == index
        part = replace(
            tokens,
            embeddings_NE=tokens.embeddings_NE[rows.to(tokens.embeddings_NE.device)],
            positions_RN=tokens.positions_RN[:, rows],
            n_positions=tokens.n_positions // tokens.n_grids,
            frame_N=torch.zeros_like(tokens.frame_N[rows]),
            row_N=tokens.row_N[rows],
            column_N=tokens.column_N[rows],
            times_seconds_N=tokens.times_seconds_N[rows],
            n_frames=tokens.n_frames // tokens.n_grids,
            n_grids=1,
            is_text_N=None if tokens.is_text_N is None else tokens.is_text_N[rows],
            deepstack=_taps_of(tokens, rows),
        )
        parts.append(FrameFeatures(first_frame + index, part))
    return tuple(parts)


def _taps_of(tokens: VisualTokens, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """DeepStack rows of the chosen tokens; taps have rows for visual tokens only."""
    if tokens.is_text_N is None:
        return ()
    chosen = rows[~tokens.is_text_N]
    return tuple(tap[chosen.to(tap.device)] for tap in tokens.deepstack)


def place_fresh(features: Sequence[FrameFeatures], start: int, shape: MemoryShape) -> list[torch.Tensor]:
    """Positions `[R, N]` of frames that begin a sequence of their own at `start`.

    Contiguous families put one frame after the other. With absolute time the first frame stands at `start` and the
    others as much later as they were shown.
    """
    placed, end = [], start
    for entry in features:
        position_RN = entry.tokens.positions_RN.clone()
        if shape.has_absolute_time:
            for axis in shape.time_axes:
                position_RN[axis] -= features[0].tokens.positions_RN[axis].min()
            position_RN += start
        else:
            position_RN += end - position_RN.min()
        placed.append(position_RN)
        end = max(end, int(position_RN.max()) + 1)
    return placed
