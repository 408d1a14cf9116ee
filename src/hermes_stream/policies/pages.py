"""Let questions read the pages of any memory that are most like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.live_vlm import in_best_pages
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.wrapper import Wrapper


@dataclass(frozen=True, slots=True)
class PagesState:
    """Rows of a page in this stream, and the store's state."""

    page_rows: int
    store: Any


class Pages(Wrapper):
    """Show a question only the pages of the store's rows that are most like it, layer by layer.

    Needs: a question's queries, which take a pass of their own, and a store of rows. Budget: the store's.
    keep: the share of the pages that is read, rounded up; 1 is all of them. page: rows of one, but at most a frame's.

    A page's score is the softmax of the question's queries over the pages' mean keys, un-rotated, mean over tokens and
    heads. Rows stay where they stand. Inside recent, the newest frames are read besides.
    Source: LiveVLM's reading, over whatever is held.
    """

    name: ClassVar[str] = "pages"

    keep: float = Field(default=0.4, gt=0, le=1)
    page: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.ingests != "tokens":
            raise ValueError(f"{self.inner.title} holds features, not rows; leave pages out")
        if type(self.store).recall is not Policy.recall or self.store.archive is not None:
            raise ValueError(f"{self.store.name} chooses what a question reads itself; leave pages out")
        return self

    def start(self, stream: StreamFacts) -> PagesState:
        return PagesState(min(self.page, stream.tokens_per_frame), super().start(stream))

    def after_chunk(self, view: MemoryView, state: PagesState) -> tuple[Plan, PagesState]:
        plan, store = super().after_chunk(view, state.store)
        return plan, replace(state, store=store)

    def view_for(self, view: MemoryView, state: PagesState, asked: torch.Tensor | None) -> ViewSpec:
        return replace(super().view_for(view, state.store, asked), recalls=True)

    def recall(self, layer: int, asked: Asked, state: PagesState) -> Recalled:  # noqa: ARG002
        if asked.held.n_rows == 0:
            return Recalled()
        keys_KND = asked.held.tensors.raw_keys_KND
        is_seen_N = in_best_pages(asked.query_HTD, keys_KND, state.page_rows, self.keep)
        return Recalled(held_rows=is_seen_N.nonzero()[:, 0])

    def forget(self, state: PagesState, forgetting: Forgetting, stream: StreamFacts) -> PagesState:
        return replace(state, store=super().forget(state.store, forgetting, stream))

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: PagesState) -> Sequence[Recalled]:  # noqa: ARG002
        return recalled
