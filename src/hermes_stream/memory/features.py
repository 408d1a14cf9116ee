"""Encoded frames that wait outside the text model, for policies that re-encode them at question time.

Shape letters: N tokens, E model width, R axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class FrameFeatures:
    """One frame's visual tokens under its number in the stream."""

    frame: int
    tokens: VisualTokens

    @property
    def n_tokens(self) -> int:
        return self.tokens.embeddings_NE.shape[0]

    @property
    def n_bytes(self) -> int:
        return self.tokens.embeddings_NE.numel() * self.tokens.embeddings_NE.element_size()


def split_frames(tokens: VisualTokens, first_frame: int) -> tuple[FrameFeatures, ...]:
    """One entry per frame, its positions relative to its own start. Embeddings are copied, not shared."""
    parts = []
    for index in range(tokens.n_frames):
        rows = tokens.frame_N == index
        positions_RN = tokens.positions_RN[:, rows]
        start = int(positions_RN.min())
        part = replace(
            tokens,
            embeddings_NE=tokens.embeddings_NE[rows.to(tokens.embeddings_NE.device)],
            positions_RN=positions_RN - start,
            n_positions=int(positions_RN.max()) + 1 - start,
            frame_N=torch.zeros_like(tokens.frame_N[rows]),
            row_N=tokens.row_N[rows],
            column_N=tokens.column_N[rows],
            times_seconds_N=tokens.times_seconds_N[rows],
            n_frames=1,
        )
        parts.append(FrameFeatures(first_frame + index, part))
    return tuple(parts)
