"""One rank of a model over several devices: its part of the weights, and its heads of every memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from hermes_stream.engine.parallel.packed import SegmentPart, run_part
from hermes_stream.memory.sharded_slab import Shard
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter

# How long a rank waits for the others in one exchange; loading a checkpoint from a slow disk is the longest.
TIMEOUT = timedelta(minutes=10)


@dataclass(slots=True, eq=False)
class Member(Shard):
    """adapter: of this rank's part of the model."""

    adapter: Adapter


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank is among the others.

    store: a file that all of them see, through which they find one another.
    """

    rank: int
    n_ranks: int
    store: str
    device: str

    @property
    def own_device(self) -> str:
        """Accelerators are taken in order."""
        return self.device if self.device == "cpu" else f"{self.device}:{self.rank}"


def join(place: Place) -> None:
    """Find the other ranks. Fails after `TIMEOUT` if one does not come."""
    backend = "gloo" if place.device == "cpu" else "cpu:gloo,cuda:nccl"
    if place.device != "cpu":
        torch.cuda.set_device(place.rank)
    distributed.init_process_group(
        backend, init_method=f"file://{place.store}", rank=place.rank, world_size=place.n_ranks, timeout=TIMEOUT
    )


def load(place: Place, options: Mapping[str, Any]) -> Member:
    """This rank's part of the model; options: of `load_adapter`."""
    adapter = load_adapter(**options, device=place.own_device, n_ranks=place.n_ranks)
    facts = adapter.facts
    return Member(place.rank, place.n_ranks, adapter.rope, facts.dtype, facts.device, adapter)


def forward(member: Member, parts: Sequence[SegmentPart]) -> Any:
    """One packed forward on this rank, together with all others; see `run_part`."""
    return run_part(member, member.adapter, parts)
