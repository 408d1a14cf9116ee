"""StreamKV: semantic segments, compressed once by a guidance text; recalled with counts that fit each layer.

Source: StreamKV, from its formulas; its repository has no licence.

Shape letters: L layers, H query heads, K key/value heads, T tokens of a question, N rows, F frames, G groups of rows
(frames and summary frames), D head dimension, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PlanError
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.archiving import ArchivingPolicy
from hermes_stream.policies.base import Probe, StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.layer_shares import cumulated_mass, layer_counts
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.retrieval import GroupIndex, best_groups, group_scores, mean_keys, rows_of
from hermes_stream.policies.segment_archive import Leaving, frame_sizes
from hermes_stream.policies.segments import CutRule, Segments, frame_features
from hermes_stream.types import Turn

_GUIDE = "guide"
# The source's: at most so many frames in a segment, at least so many before it may be cut; recalled in a layer.
_MOST_FRAMES, _LEAST_FRAMES, _RECALLED_FRAMES = 64, 4, 8


@dataclass(frozen=True, slots=True, eq=False)
class StreamKVState:
    """segments: of the frames that are held. index: of each layer's archive, () if nothing is archived yet."""

    stream: StreamFacts
    segments: Segments = field(default_factory=Segments)
    index: tuple[GroupIndex, ...] = ()


class StreamKV(ArchivingPolicy):
    """Archive of each segment the frames that fit a guidance text; each layer recalls those that fit the question.

    Needs: features, keys, the queries of a guidance text (in intervals that evict) and of questions. Budget: rows of
    the frames that wait, whole, to be compressed; new frames are encoded with them. The archive grows with the stream.

    A segment ends before a frame whose mean feature has a cosine of at most `similarity` with that of the frame before.
    When the budget is exceeded the oldest segments leave: a share `keep` of their frames goes into the archive (the
    paper: 0.4, 0.2, 0.1), with one summary frame each, the others are dropped. What is kept is most like the guidance
    text's mean query, by the cosine of mean keys; how many in each layer follows from how much the scores differ there.
    A question recalls `frames` by the same rules, `frames` times the layers together, from the archive and from the
    frames that wait; by default 8, or as many as the budget holds.

    spread: a layer's number stays within this share of the mean over the layers; the source leaves it open. guide: the
    guidance text. summary: a mean frame of each segment of several frames.

    Differs from the source. Its summary frame is the mean of the segment's features, run through the model behind it;
    here each cell is the mean of the un-rotated keys and values of its rows, and stands in the middle of the segment.
    Segments have at most 64 frames or half of those that the budget holds, and at least 4 before a cut if these are as
    many; a longer one is cut, where the source averages its most similar neighbours before the model sees them. Its
    system prompt asks the model to track objects, texts and changes; prompts are not the policy's here.
    """

    name: ClassVar[str] = "streamkv"
    needs_features: ClassVar[bool] = True

    keep: float = Field(default=0.4, gt=0, le=1)
    frames: int | None = Field(default=None, ge=1)
    similarity: float = Field(default=0.99, ge=-1, le=1)
    spread: float = Field(default=0.5, ge=0)
    summary: bool = True
    guide: str = "Describe the objects, the people and what they do, the texts, and everything that changes."

    def start(self, stream: StreamFacts) -> StreamKVState:
        super().start(stream)
        return StreamKVState(stream)

    def seen_rows(self, stream: StreamFacts) -> int:
        return math.ceil(self._n_frames(stream) * (1 + self.spread)) * stream.tokens_per_frame

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:  # noqa: ARG002
        if max(n_rows) <= (self.budget_tokens or 0):
            return ()
        return (Probe(_GUIDE, self.guide, range(stream.n_layers), wants="query"),)

    def after_chunk(self, view: MemoryView, state: StreamKVState) -> tuple[Plan, StreamKVState]:
        segments = state.segments
        for frame, feature_E in frame_features(view.encoded):
            segments = segments.add(frame, feature_E, self._cut_rule(state.stream))
        state = replace(state, segments=segments)
        if not view.is_over_budget:
            return Plan.keep_all(), state
        leaving = Leaving.of(view.layers[0], segments.starts, self.budget_tokens or 0)
        means = [leaving.means(layer) for layer in view.layers]
        scores = [
            group_scores(_guide(layer)[:, None], mean_FKD, "cosine")
            for layer, mean_FKD in zip(view.layers, means, strict=True)
        ]
        chosen = self._choose(scores, leaving.segments)
        summarised = leaving.several if self.summary else ()
        plan = Plan(tuple(leaving.plan(chosen_F, summarised) for chosen_F in chosen))
        index = tuple(
            leaving.extended(one, mean_FKD, chosen_F, summarised)
            for one, mean_FKD, chosen_F in zip(
                state.index or (GroupIndex(),) * view.n_layers, means, chosen, strict=True
            )
        )
        return plan, replace(state, segments=segments.without(len(leaving.segments)), index=index)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(sees_held=False, recalls=True, positions="view")

    def recall(self, layer: int, asked: Asked, state: StreamKVState) -> Recalled:
        """The groups that fit best, as many in each layer."""
        return _candidates(layer, asked, state).best(self._n_frames(state.stream))

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: StreamKVState) -> Sequence[Recalled]:
        """As many in all layers together, in each as many as its scores ask for."""
        per_layer = [_candidates(layer, one, state) for layer, one in enumerate(asked)]
        if not all(candidates.size_G.numel() for candidates in per_layer):
            return recalled
        masses = [cumulated_mass(candidates.score_G) for candidates in per_layer]
        counts = layer_counts(masses, self._n_frames(state.stream) * len(asked), self.spread)
        return [candidates.best(n) for candidates, n in zip(per_layer, counts, strict=True)]

    def forget(self, state: StreamKVState, forgetting: Forgetting, stream: StreamFacts) -> StreamKVState:  # noqa: ARG002
        index = tuple(one.left(forgetting, (layer,)) for layer, one in enumerate(state.index))
        held = forgetting.view.layers[0].frame_N.unique().tolist()  # the same rows in every layer
        return replace(state, index=index, segments=state.segments.of_frames(held, forgetting.frames))

    def _choose(self, scores: Sequence[torch.Tensor], segments: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """Which of the leaving frames each layer archives, sorted. scores: of all of them, `[F]`, layer by layer."""
        chosen: list[list[torch.Tensor]] = [[] for _ in scores]
        for first, end in segments:
            total = max(round(self.keep * (end - first) * len(scores)), len(scores))
            counts = layer_counts([cumulated_mass(score_F[first:end]) for score_F in scores], total, self.spread)
            for of_layer, score_F, n in zip(chosen, scores, counts, strict=True):
                of_layer.append(first + best_groups(score_F[first:end], n))
        return [torch.cat(of_layer) for of_layer in chosen]

    def _cut_rule(self, stream: StreamFacts) -> CutRule:
        most = max(min(_MOST_FRAMES, self._budget_frames(stream) // 2), 1)
        return CutRule(self.similarity, min(_LEAST_FRAMES, most), most)

    def _n_frames(self, stream: StreamFacts) -> int:
        """What a layer recalls, on average."""
        return min(_RECALLED_FRAMES, self._budget_frames(stream)) if self.frames is None else self.frames

    def _budget_frames(self, stream: StreamFacts) -> int:
        return (self.budget_tokens or 0) // stream.tokens_per_frame


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """What a question may recall in one layer: groups of the archive, then the frames that are held.

    size_G: rows of each. n_archived: rows of the archive.
    """

    size_G: torch.Tensor
    score_G: torch.Tensor
    n_archived: int

    def best(self, n: int) -> Recalled:
        row_N = rows_of(best_groups(self.score_G, n), self.size_G)
        is_held_N = row_N >= self.n_archived
        return Recalled(row_N[~is_held_N], row_N[is_held_N] - self.n_archived)


def _candidates(layer: int, asked: Asked, state: StreamKVState) -> _Candidates:
    held = asked.held
    size_G, raw_keys = frame_sizes(held), held.tensors.raw_keys_KND
    mean_GKD = mean_keys([raw_keys], size_G)[0]
    if state.index:
        size_G = torch.cat((*state.index[layer].sizes, size_G))
        mean_GKD = torch.cat((*(mean_LGKD[0] for mean_LGKD in state.index[layer].means), mean_GKD))
    return _Candidates(size_G, group_scores(asked.query_HTD, mean_GKD, "cosine"), asked.archive.n_rows)


def _guide(layer: LayerView) -> torch.Tensor:
    if _GUIDE not in layer.query:
        raise PlanError(f"streamkv needs the query of its guidance text, but the view has {sorted(layer.query)}")
    return layer.query[_GUIDE]
