"""Run the newest frames again for each question, apart from the past that any store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Probe, StreamFacts, Turn, ViewSpec
from hermes_stream.policies.newest import NewestApart


class Fresh(NewestApart):
    """Hold the newest frames back as features; questions run them again without the past, and read both.

    Needs: features, and a store of rows. Budget: rows of each layer and tokens held back, together.
    frames: how many, as the memory numbers them: Qwen makes one of two.

    A frame that newer ones push out runs through the text model once, on what the store then holds, and is the store's
    from there on: it is never seen twice. With a sliding window this is dscache.
    """

    name: ClassVar[str] = "fresh"

    def held_back(self, stream: StreamFacts) -> int:  # noqa: ARG002
        return self.frames

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        return self._inside(self._reserved(stream.tokens_per_frame)).probes(n_rows, history, stream)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        return self._inside(self._reserved(view.tokens_per_frame)).after_chunk(self._past(view), state)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:
        inside = self._inside(self._reserved(view.tokens_per_frame))
        rows_N = torch.arange(view.features.n_rows, device=view.features.frame_N.device)
        return replace(inside.view_for(self._past(view), state, asked), fresh_rows=rows_N, fresh_sees_held=False)

    def _past(self, view: MemoryView) -> MemoryView:
        """The store's: without the frames that wait, and what they take of the budget."""
        budget = view.budget_tokens
        left = None if budget is None else budget - self._reserved(view.tokens_per_frame)
        return replace(view, budget_tokens=left, frames_seen=max(view.frames_seen - self.frames, 0))
