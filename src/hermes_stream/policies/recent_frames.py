"""The last N frames, re-encoded for each question: no memory at all, and hard to beat (SimpleStream)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts, ViewSpec


class RecentFrames(Policy):
    """Keep the vision features of the newest frames; run them through the text model when a question comes.

    Needs: features. Budget: tokens that the frames may have together; `frames` sets their number instead.
    Unlike a sliding window, the frames carry no trace of what came before them.
    """

    name: ClassVar[str] = "recent-frames"
    ingests: ClassVar[Literal["tokens", "features"]] = "features"
    is_per_frame: ClassVar[bool] = True

    frames: int | None = Field(default=None, ge=1)

    def start(self, stream: StreamFacts) -> Any:
        return super().start(stream) if self.frames is None else None

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        n_frames = self._n_frames(view)
        if len(view.feature_frames) <= n_frames:
            return Plan.keep_all(), state
        return Plan(keep_frames=view.feature_frames[-n_frames:]), state

    def view_for(self, view: MemoryView, state: Any) -> ViewSpec:  # noqa: ARG002
        """The newest frames, also those that came after the last interval's end."""
        return ViewSpec(sees_held=False, fresh_frames=view.feature_frames[-self._n_frames(view) :])

    def _n_frames(self, view: MemoryView) -> int:
        fits = max((self.budget_tokens or 0) // max(view.tokens_per_frame, 1), 1)
        return fits if self.frames is None else self.frames
