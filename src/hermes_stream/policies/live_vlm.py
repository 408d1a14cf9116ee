"""LiveVLM: what newer frames look at, spread over the whole stream; a question reads the pages that it resembles.

Source: LiveVLM (second version of the paper), from its formulas. The first version describes another mechanism.

Shape letters: H query heads, K key/value heads, G query heads per key/value head, T question tokens, N rows of one
layer after its prefix, P pages, D head dimension.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PlanError
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import Policy, StreamFacts, ViewSpec
from hermes_stream.policies.recall import Asked

# Of the budget, for the short memory.
_SHORT_SHARE = 4


class LiveVLM(Policy):
    """Keep what newer frames look at, spread over the stream; a question reads the pages most like it.

    Needs: the attention of the newest frame; a question's queries. Budget: rows of each layer, short memory included.

    The newest frames, the short memory, stay whole; when an older one leaves them, what the newest frame attends to
    stays of everything older, layer by layer, all heads alike. The best `top` of that long memory stays for its
    attention alone; the rest takes one row (`capacity`) of each stretch of the stream, by falling attention.

    short: frames of the short memory, but at most a quarter of those that the budget holds, and at least one. The paper
    gives neither this number nor `top` nor how many queries read; here those of the newest frame do.
    pages: the share of the long memory's pages that a question sees, rounded up; 1 is all of it. page: rows of one, but
    at most a frame's. The budget of the paper is 12,000 rows.

    Stretches are measured on the whole stream, not on what is still held, so that they cover it evenly however often
    rows were evicted before; where earlier evictions left a stretch empty, the best of the rest take its place.
    """

    name: ClassVar[str] = "livevlm"
    reads_newest: ClassVar[bool] = True

    short: int = Field(default=8, ge=1)
    top: float = Field(default=0.5, ge=0, le=1)
    capacity: int = Field(default=1, ge=1)
    pages: float = Field(default=0.4, gt=0, le=1)
    page: int = Field(default=16, ge=1)

    def start(self, stream: StreamFacts) -> StreamFacts:
        super().start(stream)
        return stream

    def after_chunk(self, view: MemoryView, state: StreamFacts) -> tuple[Plan, StreamFacts]:
        if not view.is_over_budget:
            return Plan.keep_all(), state
        return Plan(tuple(LayerPlan(self._select(layer, state)) for layer in view.layers)), state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(recalls=True)

    def recall(self, layer: int, asked: Asked, state: StreamFacts) -> Recalled:  # noqa: ARG002
        """The best pages of the long memory, and the short one."""
        n_rows, n_long = asked.held.n_rows, self._n_long(asked.held, state)
        if n_long == 0:
            return Recalled()
        page_rows = min(self.page, state.tokens_per_frame)
        long_KND = asked.held.tensors.raw_keys_KND[:, :n_long]
        long_N = in_best_pages(asked.query_HTD, long_KND, page_rows, self.pages).nonzero()[:, 0]
        return Recalled(held_rows=torch.cat((long_N, torch.arange(n_long, n_rows, device=long_N.device))))

    def _select(self, layer: LayerView, stream: StreamFacts) -> torch.Tensor:
        """Rows to keep, sorted: some of the long memory, all of the short one."""
        if "newest" not in layer.mass:
            raise PlanError(f"livevlm needs the attention of the newest frame, but the view has {sorted(layer.mass)}")
        n_rows, budget = layer.n_rows, self.budget_tokens or 0
        n_long = self._n_long(layer, stream)
        short_N = torch.arange(n_long, n_rows, device=layer.identity_N.device)
        n_keep = budget - short_N.numel()
        if n_keep <= 0 or not n_long:
            return short_N[-budget:]
        place_N = layer.identity_N[:n_long] - stream.prefix_tokens + 1
        bucket_N = bucket_of(place_N, place_N[-1], max(n_keep // self.capacity, 1))
        score_N = layer.mass["newest"][:, :n_long].mean(dim=0)
        return torch.cat((rows_over_time(score_N, bucket_N, n_keep, int(self.top * n_keep), self.capacity), short_N))

    def _n_long(self, layer: LayerView, stream: StreamFacts) -> int:
        """Rows of frames older than the short memory."""
        n_frames = max(min(self.short, (self.budget_tokens or 0) // stream.tokens_per_frame // _SHORT_SHARE), 1)
        if layer.n_rows == 0:
            return 0
        return int((layer.frame_N <= layer.frame_N[-1] - n_frames).sum())


def bucket_of(place_N: torch.Tensor, n_places: int | torch.Tensor, n_buckets: int) -> torch.Tensor:
    """ceil(p N / L): the bucket, from 1, of each place in the stream; places count from 1 to L."""
    return (place_N * n_buckets + n_places - 1) // n_places


def rows_over_time(
    score_N: torch.Tensor, bucket_N: torch.Tensor, n_keep: int, n_top: int, capacity: int
) -> torch.Tensor:
    """The `n_top` best rows, then by falling score every row whose bucket has room, up to `n_keep`; sorted by row.

    The best rows fill their buckets too, beyond their capacity where they must. Rows of older intervals may have left
    buckets empty: then the best of the rest fill up. Of equal scores the newer row counts as better.
    """
    n_rows = score_N.numel()
    order_N = n_rows - 1 - score_N.flip(0).argsort(descending=True, stable=True)
    has_room_N = _rank_in_bucket(bucket_N[order_N]) < capacity
    has_room_N[:n_top] = True
    # Where a bucket has room for a row, all rows of it with better scores were taken: their number is its rank.
    taken_first_N = (~has_room_N).to(torch.int8).argsort(stable=True)
    return order_N[taken_first_N[:n_keep]].sort().values


def _rank_in_bucket(bucket_N: torch.Tensor) -> torch.Tensor:
    """How many earlier entries are of the same bucket."""
    sorted_N, order_N = bucket_N.sort(stable=True)
    n_before_N = torch.searchsorted(sorted_N, sorted_N)
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(order_N.numel(), device=order_N.device) - n_before_N
    return rank_N


def in_best_pages(query_HTD: torch.Tensor, key_KND: torch.Tensor, page_rows: int, share: float) -> torch.Tensor:
    """Which rows are in the best pages, bool `[N]`: this share of the pages, rounded up, by `page_scores`."""
    score_P = page_scores(query_HTD, key_KND, page_rows)
    is_read_P = torch.zeros_like(score_P, dtype=torch.bool)
    is_read_P[score_P.topk(math.ceil(share * score_P.numel() - 1e-6)).indices] = True
    return is_read_P.repeat_interleave(page_rows)[: key_KND.shape[1]]


def page_scores(query_HTD: torch.Tensor, key_KND: torch.Tensor, page_rows: int) -> torch.Tensor:
    """Attention that a question would pay to each page if pages were tokens: float32 `[P]`, adding up to 1.

    A page is a run of `page_rows` rows, the last one what is left; its key is the mean of theirs. The softmax runs over
    the pages; mean over tokens and heads. Queries and keys are un-rotated.
    """
    n_heads, n_queries, head_dim = query_HTD.shape
    n_kv_heads, n_rows, _ = key_KND.shape
    page_N = torch.arange(n_rows, device=key_KND.device) // page_rows
    n_pages = -(-n_rows // page_rows)
    sum_KPD = key_KND.new_zeros(n_kv_heads, n_pages, head_dim, dtype=torch.float32)
    sum_KPD.index_add_(1, page_N, key_KND.float())
    size_P1 = torch.full((n_pages, 1), float(page_rows), device=key_KND.device)
    size_P1[-1] = n_rows - page_rows * (n_pages - 1)
    query_KRD = query_HTD.float().reshape(n_kv_heads, n_heads // n_kv_heads * n_queries, head_dim)
    score_KRP = query_KRD @ (sum_KPD / size_P1).transpose(1, 2) * head_dim**-0.5
    share_P: torch.Tensor = score_KRP.softmax(dim=-1).mean(dim=(0, 1))
    return share_P
