"""A stream cut into runs of frames that resemble each other (StreamKV's semantic segments), as the frames come.

Shape letters: N tokens, F frames, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Where segments begin, oldest first, and the mean feature `[E]` of the newest frame; immutable.

    starts: frame numbers; the last segment is open. Segments that are no longer needed are left out. newest: the frame
    whose feature is known.
    """

    starts: tuple[int, ...] = ()
    newest_E: torch.Tensor | None = None
    newest: int = -1

    def add(self, frame: int, feature_E: torch.Tensor, rule: CutRule) -> Segments:
        """With one more frame."""
        if not self.starts or rule.cuts(self.newest_E, feature_E, frame - self.starts[-1]):
            return Segments((*self.starts, frame), feature_E, frame)
        return Segments(self.starts, feature_E, frame)

    def without(self, n_oldest: int) -> Segments:
        return replace(self, starts=self.starts[n_oldest:])

    def of_frames(self, held: Sequence[int], gone: range) -> Segments:
        """The segments that still have a frame, where some frames are gone. held: numbers of those that are left."""
        ends = (*self.starts[1:], math.inf)
        starts = tuple(
            start for start, end in zip(self.starts, ends, strict=False) if any(start <= frame < end for frame in held)
        )
        return Segments(starts) if self.newest in gone else replace(self, starts=starts)


@dataclass(frozen=True, slots=True)
class CutRule:
    """A segment ends before a frame whose cosine with the one before is at most `similarity`, once it has `least`
    frames; and in any case when it has `most`.
    """

    similarity: float
    least: int
    most: int

    def cuts(self, before_E: torch.Tensor | None, feature_E: torch.Tensor, n_frames: int) -> bool:
        """Whether a segment of so many frames, `before_E` the feature of its last, ends before the next frame."""
        if before_E is None or n_frames >= self.most:
            return True
        if n_frames < self.least:
            return False
        return bool(functional.cosine_similarity(before_E, feature_E, dim=0) <= self.similarity)


def frame_features(encoded: FeatureView) -> Iterator[tuple[int, torch.Tensor]]:
    """Each frame's number and the mean embedding `[E]` of what is visible in it, float32, text beside it apart."""
    is_seen_N = encoded.kind_N == TokenKind.VISION
    frame_F, size_F = encoded.frame_N[is_seen_N].unique_consecutive(return_counts=True)
    parts = encoded.embeddings_NE[is_seen_N.to(encoded.embeddings_NE.device)].float().split(size_F.tolist())
    for frame, part_NE in zip(frame_F.tolist(), parts, strict=True):
        yield frame, part_NE.mean(dim=0)
