"""Frames at even distances over everything seen, run through the model anew for each question: the offline recipe."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import ViewSpec
from hermes_stream.policies.feature_rows import FeaturePolicy


class UniformFrames(FeaturePolicy):
    """Hold the vision features of all frames; a question sees `frames` of them at even distances.

    Needs: features. Budget: none; what is held grows with the stream. A reference, not a memory: what most models do
    with a whole video, asked at any moment of it.
    frames: how many a question sees at most, the first and the newest among them; Qwen makes one of two.
        0 is none: what the question alone tells.
    """

    name: ClassVar[str] = "uniform-frames"
    is_bounded: ClassVar[bool] = False
    is_per_frame: ClassVar[bool] = True

    frames: int = Field(default=64, ge=0)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:  # noqa: ARG002
        return Plan.keep_all(), state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        frame_N = view.features.frame_N
        held_F = frame_N.unique_consecutive()
        chosen_F = held_F[_even(held_F.numel(), self.frames).to(held_F.device)]
        return ViewSpec(sees_held=False, fresh_rows=torch.isin(frame_N, chosen_F).nonzero()[:, 0])


def _even(n_held: int, n_wanted: int) -> torch.Tensor:
    """Indices from the first to the last, rounded down; all where there are no more. One alone is the newest."""
    if n_held <= n_wanted:
        return torch.arange(n_held)
    if n_wanted < 2:
        return torch.arange(n_held)[n_held - n_wanted :]
    return torch.arange(n_wanted) * (n_held - 1) // (n_wanted - 1)
