"""Run the newest frames again for each question, apart from the past that any store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Probe, StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.newest import NewestApart
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Turn


@dataclass(frozen=True, slots=True)
class FreshState:
    """The store's state, and how many tokens of the budget are not its own."""

    reserved: int
    store: Any


class Fresh(NewestApart):
    """Hold the newest frames back as features; questions run them again without the past, and read both.

    Needs: features, and a store of rows. Budget: rows of each layer and tokens held back, together.
    frames: how many, as the memory numbers them: Qwen makes one of two.

    A frame that newer ones push out runs through the text model once, on what the store then holds, and is the store's
    from there on: it is never seen twice. With a sliding window this is dscache.
    """

    name: ClassVar[str] = "fresh"
    holds_features: ClassVar[bool] = True

    def held_back(self, stream: StreamFacts) -> int:  # noqa: ARG002
        return self.frames

    def seen_rows(self, stream: StreamFacts) -> int | None:
        reserved = self._reserved(stream.tokens_per_frame)
        seen = self._inside(reserved).seen_rows(stream)
        return None if seen is None else seen + reserved

    def start(self, stream: StreamFacts) -> FreshState:
        return FreshState(self._reserved(stream.tokens_per_frame), super().start(stream))

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        return self._inside(self._reserved(stream.tokens_per_frame)).probes(n_rows, history, stream)

    def after_chunk(self, view: MemoryView, state: FreshState) -> tuple[Plan, FreshState]:
        plan, store = self._inside(state.reserved).after_chunk(self._past(view, state), state.store)
        return plan, replace(state, store=store)

    def view_for(self, view: MemoryView, state: FreshState, asked: torch.Tensor | None) -> ViewSpec:
        rows_N = torch.arange(view.features.n_rows, device=view.features.frame_N.device)
        spec = self._inside(state.reserved).view_for(self._past(view, state), state.store, asked)
        return replace(spec, fresh_rows=rows_N, fresh_sees_held=False)

    def recall(self, layer: int, asked: Asked, state: FreshState) -> Recalled:
        return self._inside(state.reserved).recall(layer, asked, state.store)

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: FreshState) -> Sequence[Recalled]:
        return self._inside(state.reserved).settle(asked, recalled, state.store)

    def forget(self, state: FreshState, forgetting: Forgetting, stream: StreamFacts) -> FreshState:
        past = replace(forgetting, view=self._past(forgetting.view, state))
        return replace(state, store=self._inside(state.reserved).forget(state.store, past, stream))

    def _past(self, view: MemoryView, state: FreshState) -> MemoryView:
        """The store's: without the frames that wait, and what they take of the budget."""
        budget = None if view.budget_tokens is None else view.budget_tokens - state.reserved
        return replace(view, budget_tokens=budget, frames_seen=max(view.frames_seen - self.frames, 0))
