"""V-Rex (ReSV): the newest frames, and of all older ones the clusters of keys that a query's mass demands.

Source: V-Rex, from the formulas of its paper; no code of it is public.

Shape letters: H query heads, K key/value heads, G query heads per key/value head, T new tokens, N archived rows, C
clusters, R query rows of a key/value head (G x T), D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.archiving import ArchivingPolicy
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.key_clusters import KeyClusters, clusters_by_mass, hyperplanes, side_of
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.sliding_window import newest_frames

# Query rows whose scores of all clusters are sorted at one time.
_BLOCK_QUERIES = 64


@dataclass(frozen=True, slots=True, eq=False)
class VRexState:
    """seed: of the hyperplanes. clusters: of what is archived, layer by layer and head by head; None is nothing yet."""

    n_layers: int
    seed: int
    clusters: KeyClusters | None = None


class VRex(ArchivingPolicy):
    """Archive every row that leaves the window, in clusters; frames and questions fetch those with enough mass.

    Needs: keys; queries of questions and of new frames. Budget: rows of the window of newest frames, which is always
    seen; the archive grows with the stream.

    A key's code says on which side of `planes` random hyperplanes it lies. Head by head, a row that leaves the window
    joins the cluster whose code differs from its own in the fewest bits, if these are fewer than `radius`, or opens
    one. Each query takes clusters by falling score, until their mass (score by rows) exceeds the share `mass` of all;
    what any query of a head takes, all queries of that head see. 1 is everything.

    keys: "rotated" codes and compares keys at their positions, as the source does; "raw" without them, which stays
    right when positions run out and are closed up.

    The source leaves open which cluster is joined and what stands for it: here the nearest, with the code of its first
    key, and the mean of its keys. A score is exp(s - max s), s the scaled product of query and mean key, because raw
    products may be negative. The source clusters a frame as it comes; here its rows are clustered when they leave the
    window, before which no query needs them. Predicting the next layer's clusters is for the source's hardware.
    """

    name: ClassVar[str] = "v-rex"
    recalls_at: ClassVar[Literal["questions", "always"]] = "always"

    planes: int = Field(default=32, ge=1)
    radius: int = Field(default=7, ge=1)
    mass: float = Field(default=0.3, ge=0, le=1)
    keys: Literal["rotated", "raw"] = "rotated"

    def start(self, stream: StreamFacts) -> VRexState:
        super().start(stream)
        return VRexState(stream.n_layers, stream.seed)

    def after_chunk(self, view: MemoryView, state: VRexState) -> tuple[Plan, VRexState]:
        frame_N = view.layers[0].frame_N  # the same rows in every layer
        if not view.is_over_budget:
            return Plan.keep_all(), state
        keep_N = newest_frames(frame_N, self.budget_tokens or 0)
        n_gone = frame_N.numel() - keep_N.numel()
        plan = LayerPlan(keep_N, archive=torch.arange(n_gone, device=frame_N.device))
        return Plan((plan,) * view.n_layers), self._with_rows(view, n_gone, state)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        return ViewSpec(recalls=True)

    def recall(self, layer: int, asked: Asked, state: VRexState) -> Recalled:
        """The clusters that the queries of each head take, and the window."""
        if state.clusters is None:
            return Recalled()
        n_heads = state.clusters.member_SN.shape[0] // state.n_layers
        clusters = state.clusters.of_sets(slice(layer * n_heads, (layer + 1) * n_heads))
        query_HTD = asked.rotated_query_HTD if self.keys == "rotated" else asked.query_HTD
        taken_KC = self._taken(query_HTD.to(clusters.key_SCD.device), clusters)
        visible_KN = taken_KC.gather(1, clusters.member_SN)
        rows_N = visible_KN.any(dim=0).nonzero()[:, 0]
        return Recalled(rows_N, visible_KN=visible_KN[:, rows_N])

    def forget(self, state: VRexState, forgetting: Forgetting, stream: StreamFacts) -> VRexState:  # noqa: ARG002
        """Clusters as if only the rows that are left had ever been archived."""
        is_rotated, layers = self.keys == "rotated", range(state.n_layers)
        if state.clusters is None or not forgetting.archive_rows_L[0].numel():
            return replace(state, clusters=None)
        return self._clustered(
            [forgetting.archived_keys(layer, is_rotated) for layer in layers], replace(state, clusters=None)
        )

    def _with_rows(self, view: MemoryView, n_gone: int, state: VRexState) -> VRexState:
        """With the oldest rows of the window in clusters."""
        return self._clustered([self._keys(layer)[:, :n_gone] for layer in view.layers], state)

    def _clustered(self, keys: Sequence[torch.Tensor], state: VRexState) -> VRexState:
        """With more rows, of which each layer's keys `[K, T, D]` are given, in clusters."""
        key_STD = torch.cat(tuple(keys)).float()
        code_STB = side_of(key_STD, hyperplanes(self.planes, key_STD.shape[-1], state.seed))
        clusters = state.clusters
        if clusters is None:
            clusters = KeyClusters.empty(key_STD.shape[0], self.planes, key_STD.shape[-1], key_STD.device)
        return replace(state, clusters=clusters.add(code_STB, key_STD, self.radius))

    def _keys(self, layer: LayerView) -> torch.Tensor:
        return layer.tensors.rotated_keys_KND if self.keys == "rotated" else layer.tensors.raw_keys_KND

    def _taken(self, query_HTD: torch.Tensor, clusters: KeyClusters) -> torch.Tensor:
        """Clusters that any query of each head takes, bool `[K, C]`."""
        n_kv_heads, head_dim = clusters.key_SCD.shape[0], clusters.key_SCD.shape[-1]
        query_KRD = query_HTD.float().reshape(n_kv_heads, -1, head_dim)
        taken_KC = torch.zeros_like(clusters.n_rows_SC, dtype=torch.bool)
        for block_KRD in query_KRD.split(_BLOCK_QUERIES, dim=1):
            score_KRC = block_KRD @ clusters.key_SCD.transpose(1, 2) * head_dim**-0.5
            score_KRC = score_KRC.masked_fill(clusters.n_rows_SC[:, None] == 0, -torch.inf)
            score_KRC = (score_KRC - score_KRC.amax(dim=-1, keepdim=True)).exp()
            taken_KC |= clusters_by_mass(score_KRC, clusters.n_rows_SC, self.mass).any(dim=1)
        return taken_KC
