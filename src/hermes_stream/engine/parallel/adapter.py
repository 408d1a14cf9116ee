"""A model over several devices behind the `Adapter` protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.parallel.member import Member, forward
from hermes_stream.engine.parallel.packed import parts_of, take_over
from hermes_stream.engine.parallel.team import Team
from hermes_stream.errors import ConfigError, InvariantError, PolicyError
from hermes_stream.memory.backends.base import Backend
from hermes_stream.memory.sharded_slab import ShardedBackend
from hermes_stream.models.adapter import Batch, ModelFacts

if TYPE_CHECKING:
    from hermes_stream.models.stock import StockModel


class ShardedAdapter:
    """The first rank's adapter, whose forwards run on all of them.

    Pictures, embeddings and logits are computed by the first rank alone, from weights that it has whole.
    """

    def __init__(self, team: Team, member: Member) -> None:
        self._team, self._own = team, member.adapter
        facts = member.adapter.facts
        self.facts: ModelFacts = replace(
            facts, weight_bytes=facts.weight_bytes * member.n_ranks, n_ranks=member.n_ranks
        )
        self.backend: Backend = ShardedBackend(team)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def run(self, batch: Batch) -> torch.Tensor:
        """One forward on all ranks. Raises RankError if one of them ends, PolicyError for what cannot be spread."""
        if not isinstance(batch, PackedBatch):
            raise InvariantError("a model over several devices runs packed batches only")
        parts = parts_of(batch.segments, self.facts.n_layers)
        hidden_TE, found = self._team.now(forward, parts)
        take_over(batch.segments, found, self.facts.n_layers)
        whole_TE: torch.Tensor = hidden_TE
        return whole_TE

    def project(self, layer_index: int, embeddings_TE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:  # noqa: ARG002
        raise PolicyError(
            "probes by embeddings ask a layer for all of its heads, which a model over several devices does not have "
            'in one place; take queries="true", or load it on one device'
        )

    def run_stock(self, *_: Any, **__: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        raise ConfigError("a model over several devices cannot be compared with transformers; load it on one device")

    def stock_model(self) -> StockModel:
        raise ConfigError("a model over several devices cannot be compared with transformers; load it on one device")

    @property
    def why_ended(self) -> str | None:
        return self._team.why_ended

    def close(self) -> None:
        """End the other ranks."""
        self._team.close()
