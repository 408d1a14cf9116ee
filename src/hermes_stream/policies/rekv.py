"""ReKV: everything leaves for an archive, and each layer recalls the frames that fit the question.

Source: ReKV, arXiv 2503.00540, from its formulas; its released code differs in the similarity alone.

Shape letters: H query heads, K key/value heads, T tokens of the question, F frames, D head dimension.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PolicyError
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.frame_archive import FrameArchive, FrameArchiveState
from hermes_stream.policies.retrieval import Similarity, best_groups, group_scores


class ReKV(FrameArchive):
    """Archive every frame; a question sees, in each layer, the frames whose mean key is most like its mean query.

    Needs: keys, and queries of the question. Budget: rows of the window with which frames are encoded; a question does
    not see it, and sees as many frames as it holds unless `frames` sets their number (the source: 64 beside a window of
    76.5). They stand one after the other, in time order, behind the prefix.

    similarity: "cosine" is the paper's; "dot" the released code's, which favours long keys. group: frames are ranked in
    fixed runs of as many, by their mean score, and taken run by run as far as whole runs fit. recent: the newest frames
    are always among those that are seen, in the place of others.

    Differs from the source: frames are archived from the first interval on, not only once the window is full, with the
    same answers; scores are computed in float32 throughout. Not here: retrieval by another model's frame indices.
    """

    name: ClassVar[str] = "rekv"
    is_per_frame: ClassVar[bool] = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "released": {"similarity": "dot"}}

    similarity: Similarity = "cosine"
    frames: int | None = Field(default=None, ge=1)
    group: int = Field(default=1, ge=1)
    recent: int = Field(default=0, ge=0)

    def start(self, stream: StreamFacts) -> FrameArchiveState:
        state = super().start(stream)
        n_frames = self._n_frames(stream.tokens_per_frame)
        if self.recent > n_frames:
            raise PolicyError(f"rekv: recent={self.recent} does not fit the {n_frames} frames that a question sees")
        if 0 < n_frames - self.recent < self.group:
            raise PolicyError(
                f"rekv: group={self.group} does not fit the {n_frames - self.recent} frames that a question sees "
                f"beside {self.recent} recent ones; give a smaller group, more frames or a larger budget"
            )
        return state

    def seen_rows(self, stream: StreamFacts) -> int:
        return self._n_frames(stream.tokens_per_frame) * stream.tokens_per_frame

    def _choose(
        self,
        query_HTD: torch.Tensor,
        mean_FKD: torch.Tensor,
        size_F: torch.Tensor,  # noqa: ARG002
        state: FrameArchiveState,
    ) -> torch.Tensor:
        score_F = group_scores(query_HTD, mean_FKD, self.similarity)
        return best_groups(score_F, self._n_frames(state.tokens_per_frame), together=self.group, newest=self.recent)

    def _n_frames(self, tokens_per_frame: int) -> int:
        fits = (self.budget_tokens or 0) // max(tokens_per_frame, 1)
        return fits if self.frames is None else self.frames
