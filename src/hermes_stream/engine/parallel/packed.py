"""A forward of which every rank computes its own heads: what the others must know of it, and what they bring back.

Every rank runs the same `PackedBatch`, over slabs with its heads in place of the memories and tails that the first rank
alone has.

Shape letters: T new tokens, E model width, R axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import torch

from hermes_stream.engine.batch import CommitSegment, DeepStack, PackedBatch, ProbeSegment, Segment, TailSegment
from hermes_stream.engine.tail import Tail
from hermes_stream.errors import InvariantError, PolicyError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.backends.base import Rows
from hermes_stream.memory.recall import SeenRows
from hermes_stream.memory.sharded_slab import Shard, ShardedSlab
from hermes_stream.memory.slab import Span
from hermes_stream.memory.version import LayerMemory, MemoryVersion

# Of a slab the first rows: its number, and how many.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SegmentPart:
    """What a rank needs of a segment.

    own, held: of each layer, as for a `Reader`. deepstack: mask and taps. layers, wants_query: of a probe. n_read,
    read_layers: of a commit or a tail.
    """

    kind: type[Segment]
    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    own: tuple[Place, ...] = ()
    held: tuple[Place, ...] = ()
    deepstack: tuple[torch.Tensor, tuple[torch.Tensor, ...]] | None = None
    layers: frozenset[int] = frozenset()
    wants_query: bool = False
    n_read: int = 0
    read_layers: range | None = None


def parts_of(segments: Sequence[Segment], n_layers: int) -> list[SegmentPart]:
    """What every rank must know, with room claimed for all new rows; refused before that, if it cannot be told.

    Raises PolicyError for questions and frames that recall, or stand apart from what is held.
    """
    for segment in segments:
        _check(segment)
    return [_part(segment, range(n_layers)) for segment in segments]


def run_part(shard: Shard, adapter: Any, parts: Sequence[SegmentPart]) -> tuple[torch.Tensor, list[Segment]]:
    """The forward on this rank, together with all others: last hidden states, `[T, E]`.

    On the first rank the segments that come with it bring what was wanted besides, of all heads.
    """
    segments = [_segment(shard, part) for part in parts]
    hidden_TE: torch.Tensor = adapter.run(PackedBatch(segments, shard.rope))
    _gather(shard, segments)
    return hidden_TE, segments


def take_over(segments: Sequence[Segment], found: Sequence[Segment], n_layers: int) -> None:
    """Note in the segments of a forward what the ranks brought."""
    for segment, part in zip(segments, found, strict=True):
        for wanted, brought in zip(_wanted(segment), _wanted(part), strict=True):
            wanted.update(brought)
        if isinstance(segment, CommitSegment):
            segment.pending.mark_written(n_layers - 1)


def _check(segment: Segment) -> None:
    recalls = not isinstance(segment, ProbeSegment) and (
        segment.sees if isinstance(segment, CommitSegment) else segment.tail.sees
    )
    if recalls or (isinstance(segment, TailSegment) and segment.n_apart):
        raise PolicyError(CANNOT_RECALL)


CANNOT_RECALL = (
    "a model over several devices shows questions and frames all that is held, so memories that recall do not work on "
    "it; take hermes, sliding-window, uniform, streaming-vlm, attention-sinks or keep-all, or load it on one device"
)


def _part(segment: Segment, layers: range) -> SegmentPart:
    stack = None if segment.deepstack is None else (segment.deepstack.is_visual_T, segment.deepstack.taps)
    own = [segment.own(index) for index in layers]
    held = [segment.held(index) for index in layers]
    part = SegmentPart(
        type(segment),
        segment.embeddings_TE,
        segment.position_RT,
        tuple(_place(rows) for rows in own if rows is not None),
        tuple(_place(rows) for rows in held if rows is not None),
        stack,
    )
    if isinstance(segment, ProbeSegment):
        return replace(part, layers=segment.layers, wants_query=segment.wants_query)
    read_layers = segment.read_layers if isinstance(segment, TailSegment) else None
    return replace(part, n_read=segment.n_read, read_layers=read_layers)


def _place(rows: Rows) -> Place:
    if not isinstance(rows.slab, ShardedSlab):
        raise InvariantError("rows of a model over several devices stand in a slab of one")
    return rows.slab.number, rows.n_held


def _segment(shard: Shard, part: SegmentPart) -> Segment:
    own, held = ([Span(shard.slabs[number], n) for number, n in places] for places in (part.own, part.held))
    embeddings_TE, position_RT = part.embeddings_TE.to(shard.device), part.position_RT.to(shard.device)
    stack = None if part.deepstack is None else DeepStack(part.deepstack[0], part.deepstack[1])
    if part.kind is CommitSegment:
        return _PartCommit(embeddings_TE, _PartAppend(own, position_RT), stack, part.n_read)
    if part.kind is ProbeSegment:
        reads = _PartAppend(held, position_RT)
        return ProbeSegment(embeddings_TE, position_RT, reads, part.layers, part.wants_query)
    return TailSegment(embeddings_TE, position_RT, _PartTail(own, held), stack, part.n_read, part.read_layers)


class _PartAppend(PendingAppend):
    """Stands where an append would: rows that were claimed."""

    def __init__(self, spans: Sequence[Span], position_RT: torch.Tensor) -> None:
        self.base = cast(MemoryVersion, SimpleNamespace(layers=spans))
        self.position_RT = position_RT

    def layer(self, layer_index: int) -> LayerMemory:
        return self.base.layers[layer_index]

    def mark_written(self, layer_index: int) -> None:
        """The first rank counts."""


class _PartCommit(CommitSegment):
    @property
    def position_RT(self) -> torch.Tensor:
        assert isinstance(self.pending, _PartAppend)
        return self.pending.position_RT


class _PartTail(Tail):
    """Stands where a tail would: rows that were claimed, and those of the version that it reads."""

    def __init__(self, own: Sequence[Span], held: Sequence[Span]) -> None:
        self.base = cast(MemoryVersion, SimpleNamespace(layers=held))
        self.sees = None
        self._own = own

    def span(self, layer_index: int, n_new: int) -> Span:  # noqa: ARG002
        return self._own[layer_index]

    def held(
        self,
        layer_index: int,
        query_HTD: torch.Tensor,  # noqa: ARG002
        rotated_query_HTD: torch.Tensor,  # noqa: ARG002
    ) -> SeenRows:
        layer = self.base.layers[layer_index]
        return SeenRows(layer.keys, layer.values)


def _wanted(segment: Segment) -> list[dict[int, torch.Tensor]]:
    """Of each kind by layer, heads first."""
    if isinstance(segment, CommitSegment):
        return [segment.mass]
    return [segment.mass, segment.query] if isinstance(segment, ProbeSegment) else [segment.attention]


def _gather(shard: Shard, segments: Sequence[Segment]) -> None:
    """Make what the ranks found of their heads whole on the first, in one transfer."""
    places = [(found, layer) for segment in segments for found in _wanted(segment) for layer in found]
    if not places:
        return
    own = [found[layer] for found, layer in places]
    # Numbers of different precision travel in the widest.
    widest = max((x.dtype for x in own), key=lambda dtype: torch.finfo(dtype).bits)
    flat_RP = shard.gather(torch.cat([x.flatten().to(widest) for x in own])[None])
    if shard.rank == 0:
        pieces = flat_RP.split([x.numel() for x in own], dim=1)
        for (found, layer), x, piece_RP in zip(places, own, pieces, strict=True):
            found[layer] = piece_RP.reshape(-1, *x.shape[1:]).to(x.dtype)
