"""The last N frames, re-encoded for each question: no memory at all, and hard to beat (SimpleStream)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, ViewSpec


class RecentFrames(Policy):
    """Keep the vision features of the newest frames; run them through the text model when a question comes.

    Needs: features. Budget: tokens that the frames may have together; `frames` sets their number instead.
    Unlike a sliding window, the frames carry no trace of what came before them.
    """

    name: ClassVar[str] = "recent-frames"
    ingests: ClassVar[Literal["tokens", "features"]] = "features"
    is_per_frame: ClassVar[bool] = True

    frames: int | None = Field(default=None, ge=1)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        keep_N = self._newest_rows(view)
        if keep_N.numel() == view.features.n_rows:
            return Plan.keep_all(), state
        return Plan(features=LayerPlan(keep_N)), state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        """The newest frames, also those that came after the last interval's end."""
        return ViewSpec(sees_held=False, fresh_rows=self._newest_rows(view))

    def layer_budgets(self, n_layers: int) -> tuple[int, ...] | None:
        """A number of frames takes the place of the budget."""
        return super().layer_budgets(n_layers) if self.frames is None else None

    def _newest_rows(self, view: MemoryView) -> torch.Tensor:
        """Frames are never held in part, so that the newest are those with the last numbers."""
        return (view.features.frame_N >= view.frames_seen - self._n_frames(view)).nonzero()[:, 0]

    def _n_frames(self, view: MemoryView) -> int:
        if self.frames is not None:
            return self.frames
        return max((self.budget_tokens or 0) // max(view.tokens_per_frame, 1), 1)
