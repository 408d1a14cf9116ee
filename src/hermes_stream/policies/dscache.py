"""A window of the past, and the newest frames run again without it (DSCache)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts, ViewSpec
from hermes_stream.policies.sliding_window import newest_frames

# One instant frame to seven of the past: 4 and 28 frames in the paper.
_FRAMES_PER_INSTANT = 8


class DSCache(Policy):
    """Hold the newest frames back as features; questions run them again, apart from the window of older frames.

    Needs: features. Budget: rows of the window and of the frames held back, together. A frame that newer ones push out
    is run once, reading prefix and window, and the window drops its oldest frames. For a question the frames held back
    read the prefix and one another only, so that their keys do not lean on the past; the question reads everything.
    instant: how many frames are held back; None is an eighth of the frames that the budget holds, at least one.
    positions: of the window after an eviction, see sliding-window; "compact" is the source's contiguous view.
    Source: DSCache, from its description. Not here: the newest frame a second time at a higher resolution, and every
    second frame of the window alone for Qwen.
    """

    name: ClassVar[str] = "dscache"
    is_per_frame: ClassVar[bool] = True

    instant: int | None = Field(default=None, ge=0)
    positions: Positions = Positions.COMPACT

    def start(self, stream: StreamFacts) -> Any:
        super().start(stream)
        n_frames = (self.budget_tokens or 0) // stream.tokens_per_frame
        if self.instant is not None and self.instant > n_frames:
            raise PolicyError(
                f"dscache: {self.instant} instant frames of {stream.tokens_per_frame} tokens do not fit a budget of "
                f"{self.budget_tokens}, which holds {n_frames}; give fewer, or a larger budget"
            )
        return None

    def held_back(self, stream: StreamFacts) -> int:
        return self._n_instant(stream.tokens_per_frame)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        frame_N = view.layers[0].frame_N  # the same rows in every layer
        if frame_N.numel() <= (budget := self._window_budget(view.tokens_per_frame)):
            return Plan.keep_all(), state
        return Plan.same_rows(newest_frames(frame_N, budget), view.n_layers, self.positions), state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        """The window, then all frames that are held back."""
        features = view.features
        rows_N = torch.arange(features.n_rows, device=features.frame_N.device)
        return ViewSpec(fresh_rows=rows_N, fresh_sees_held=False)

    def _window_budget(self, tokens_per_frame: int) -> int:
        """Rows of the window; none where the budget leaves less than a frame."""
        budget = (self.budget_tokens or 0) - self._n_instant(tokens_per_frame) * tokens_per_frame
        return budget if budget >= tokens_per_frame else 0

    def _n_instant(self, tokens_per_frame: int) -> int:
        if self.instant is not None:
            return self.instant
        n_frames = (self.budget_tokens or 0) // max(tokens_per_frame, 1)
        return max(1, (2 * n_frames + _FRAMES_PER_INSTANT) // (2 * _FRAMES_PER_INSTANT))
