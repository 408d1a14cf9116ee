"""StreamingTOM's memory: frames in four bits, recalled by the question.

Source: StreamingTOM, online quantised memory (OQM), from its formulas. Its reduction of frames before the text model
(CTR) is a front-end.

Shape letters: H query heads, K key/value heads, T tokens of the question, F frames, D head dimension.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field

from hermes_stream.policies.archiving import Precision
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.frame_archive import FrameArchive, FrameArchiveState
from hermes_stream.policies.retrieval import best_groups, group_scores

# The source's: a question sees 12,544 tokens beside a window of 4,800 to encode with.
_SEEN_PER_WINDOW = 12_544 / 4_800


class StreamingTOM(FrameArchive):
    """Archive every frame in four bits; a question sees, in each layer, the frames that fit it best.

    Needs: keys, and queries of the question. Budget: rows of the window with which frames are encoded; a question does
    not see it, but 2.6 times as many rows of frames, rounded up to whole ones of the mean size so far, unless `groups`
    sets their number. A group is a frame; its mean key is taken before it is quantised, and compared by cosine.

    Keys and values are quantised once, when a frame is archived, un-rotated, for each channel of a frame by its own
    minimum and scale; `bits=16` archives them as they are. The prefix is never quantised, nor are frames that came
    since the last interval ended.

    Differs from the source: mean keys stay in float32.
    """

    name: ClassVar[str] = "streamingtom"
    is_per_frame: ClassVar[bool] = True
    scales_per_frame: ClassVar[bool] = True

    bits: Precision = 4
    groups: int | None = Field(default=None, ge=1)

    def seen_rows(self, stream: StreamFacts) -> int:
        return self._n_groups(stream.tokens_per_frame) * stream.tokens_per_frame

    def _choose(
        self,
        query_HTD: torch.Tensor,
        mean_FKD: torch.Tensor,
        size_F: torch.Tensor,
        state: FrameArchiveState,  # noqa: ARG002
    ) -> torch.Tensor:
        n_groups = self._n_groups(int(size_F.sum()) / size_F.numel())
        return best_groups(group_scores(query_HTD, mean_FKD, "cosine"), n_groups)

    def _n_groups(self, rows_per_group: float) -> int:
        if self.groups is not None:
            return self.groups
        return math.ceil((self.budget_tokens or 0) * _SEEN_PER_WINDOW / max(rows_per_group, 1))
