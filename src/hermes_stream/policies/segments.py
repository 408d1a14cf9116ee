"""A stream cut into runs of frames that resemble each other (StreamKV's semantic segments), as the frames come.

Shape letters: N tokens of a frame, E model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from hermes_stream.memory.features import FrameFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Where segments begin, oldest first, and the mean feature `[E]` of the newest frame; immutable.

    starts: frame numbers; the last segment is open. Segments that are no longer needed are left out.
    """

    starts: tuple[int, ...] = ()
    newest_E: torch.Tensor | None = None

    def add(self, frame: int, feature_E: torch.Tensor, rule: CutRule) -> Segments:
        """With one more frame."""
        if not self.starts or rule.cuts(self.newest_E, feature_E, frame - self.starts[-1]):
            return Segments((*self.starts, frame), feature_E)
        return Segments(self.starts, feature_E)

    def without(self, n_oldest: int) -> Segments:
        return Segments(self.starts[n_oldest:], self.newest_E)


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


def mean_feature(frame: FrameFeatures) -> torch.Tensor:
    """Mean embedding `[E]` of what is visible in a frame, float32; the text beside it is left out."""
    tokens = frame.tokens
    embeddings_NE = tokens.embeddings_NE.float()
    if tokens.is_text_N is not None:
        embeddings_NE = embeddings_NE[~tokens.is_text_N.to(embeddings_NE.device)]
    return embeddings_NE.mean(dim=0)
