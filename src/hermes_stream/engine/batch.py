"""New tokens of many sessions in one forward, packed along the sequence.

Linear layers see one long row; attention treats each segment with its own memory. Three kinds of segment:
commit (rows enter the memory), probe (attends to what was just committed, leaves its attention and nothing else),
tail (a question and its answer, on top of a pinned version).

Shape letters: H query heads, K key/value heads, T new tokens (packed), N held, M tail tokens, D head dimension,
E model width, R axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from hermes_stream.engine.recall import Chooser
from hermes_stream.engine.special_attention import attend_asking, attend_recalling
from hermes_stream.engine.tail import Tail
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.attention import mass_of_newest
from hermes_stream.memory.backends.base import Attended, Forward, Projected, Reader
from hermes_stream.memory.backends.packed import PackedForward
from hermes_stream.memory.backends.reference import ReferenceForward
from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.slab import Span
from hermes_stream.memory.upload import upload
from hermes_stream.memory.version import LayerMemory
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, eq=False)
class DeepStack:
    """Rows of a segment that early layers add vision features to: which, bool `[T]`, and per tap what, `[n, E]`."""

    is_visual_T: torch.Tensor
    taps: tuple[torch.Tensor, ...]

    @staticmethod
    def of(encoded: Sequence[VisualTokens], n_text: int = 0) -> DeepStack | None:
        """For the rows of encoded frames and text tokens behind them; None for families without taps."""
        if not encoded or not encoded[0].deepstack:
            return None
        masks = [torch.ones_like(t.frame_N, dtype=torch.bool) if t.is_text_N is None else ~t.is_text_N for t in encoded]
        taps = zip(*(tokens.deepstack for tokens in encoded), strict=True)
        is_visual_T = torch.cat([*masks, torch.zeros(n_text, dtype=torch.bool)])
        return DeepStack(is_visual_T, tuple(torch.cat(tap) for tap in taps))


@dataclass(eq=False)
class CommitSegment:
    """Tokens `[T, E]` that enter a memory.

    n_read: of how many of its last tokens the attention is wanted; after the forward `mass[layer]` is its mean,
    `[K, N]`, prefix and new rows included. sees: what they attend to besides each other, if not the memory itself.
    """

    embeddings_TE: torch.Tensor
    pending: PendingAppend
    deepstack: DeepStack | None = None
    n_read: int = 0
    mass: dict[int, torch.Tensor] = field(default_factory=dict)
    sees: Chooser | None = None

    @property
    def position_RT(self) -> torch.Tensor:
        return self.pending.rows.table.position_RHN[:, 0]

    @property
    def is_plain(self) -> bool:
        """Whether a backend knows all that its attention needs."""
        return self.sees is None

    @property
    def n_rows(self) -> int:
        return self.embeddings_TE.shape[0]

    def own(self, layer_index: int) -> LayerMemory:
        return self.pending.layer(layer_index)

    def held(self, layer_index: int) -> None:  # noqa: ARG002
        return None

    def wants_mass(self, layer_index: int) -> bool:  # noqa: ARG002
        return False


@dataclass(eq=False)
class ProbeSegment:
    """Text tokens that read a pending append and report their attention; nothing of them stays.

    layers: where attention is wanted; after the forward `mass[layer]` is `[K, N]`, prefix included. wants_query: the
    mean un-rotated query `[H, D]` of these layers is wanted instead, in `query`.
    """

    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    reads: PendingAppend
    layers: frozenset[int]
    wants_query: bool = False
    deepstack: None = None
    mass: dict[int, torch.Tensor] = field(default_factory=dict)
    query: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        return True

    @property
    def n_rows(self) -> int:
        return self.embeddings_TE.shape[0]

    def own(self, layer_index: int) -> None:  # noqa: ARG002
        return None

    def held(self, layer_index: int) -> LayerMemory:
        return self.reads.layer(layer_index)

    def wants_mass(self, layer_index: int) -> bool:
        return layer_index in self.layers and not self.wants_query


@dataclass(eq=False)
class TailSegment:
    """Tokens of a question or of its answer. The logits of its last token are wanted.

    n_read: of how many of its last tokens the attention is wanted too; after the forward `attention[layer]` is their
    mean, `[H, N + M]`: to what they see of the memory, prefix included, then to the tail. read_layers: in which; None
    is all.
    n_apart: how many of its first tokens see only the prefix of what is held, and one another. apart_distance: how far
    they stand from the prefix's end; they read it as if they followed it at once.
    """

    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    tail: Tail
    deepstack: DeepStack | None = None
    n_read: int = 0
    read_layers: range | None = None
    n_apart: int = 0
    apart_distance: int = 0
    attention: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        return self.embeddings_TE.shape[0]

    @property
    def is_plain(self) -> bool:
        return self.tail.sees is None and not self.n_apart and not self.n_read

    def own(self, layer_index: int) -> Span:
        return self.tail.span(layer_index, self.n_rows)

    def is_read(self, layer_index: int) -> bool:
        """Whether attention is wanted here."""
        return self.n_read > 0 and (self.read_layers is None or layer_index in self.read_layers)

    def held(self, layer_index: int) -> LayerMemory:
        return self.tail.base.layers[layer_index]

    def wants_mass(self, layer_index: int) -> bool:  # noqa: ARG002
        return False


Segment = CommitSegment | ProbeSegment | TailSegment


class PackedBatch:
    """What one forward is made of, and the attention of each of its layers.

    A probe must come after the commit that it reads. After the forward, `last_rows` are the rows whose logits the
    tail segments want, in segment order.
    """

    def __init__(self, segments: Sequence[Segment], rope: Rope) -> None:
        self.segments = list(segments)
        self._rope = rope
        self.embeddings_TE = torch.cat([segment.embeddings_TE for segment in self.segments])
        position_RT = torch.cat([segment.position_RT for segment in self.segments], dim=-1)
        self._cos_TD, self._sin_TD = rope.tables(position_RT, self.embeddings_TE.dtype)
        self._lengths = [segment.embeddings_TE.shape[0] for segment in self.segments]
        self._forwards = _forwards(self.segments, self._lengths)

    @property
    def deepstack(self) -> tuple[torch.Tensor, list[torch.Tensor]] | None:
        """Which rows of the forward are visual, bool `[T]`, and what each tap adds to them; None without DeepStack."""
        stacks = [segment.deepstack for segment in self.segments]
        present = [stack for stack in stacks if stack is not None]
        if not present:
            return None
        masks = [
            torch.zeros(length, dtype=torch.bool) if stack is None else stack.is_visual_T
            for stack, length in zip(stacks, self._lengths, strict=True)
        ]
        taps = zip(*(stack.taps for stack in present), strict=True)
        return upload(torch.cat(masks), self.embeddings_TE.device), [torch.cat(tap) for tap in taps]

    @property
    def n_tokens(self) -> int:
        return self.embeddings_TE.shape[0]

    @property
    def last_rows(self) -> list[int]:
        ends = torch.tensor(self._lengths).cumsum(0).tolist()
        return [end - 1 for end, segment in zip(ends, self.segments, strict=True) if isinstance(segment, TailSegment)]

    def attend(
        self,
        layer_index: int,
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Rotate, store and attend; returns `[H, T, D]`."""
        new = Projected(
            rotate(query_HTD, self._cos_TD, self._sin_TD),
            rotate(key_KTD, self._cos_TD, self._sin_TD),
            value_KTD,
            query_HTD,
            key_KTD,
        )
        parts = new.split(self._lengths)
        # First what no backend knows: a probe may read what such a segment commits.
        attended: dict[int, Attended] = {
            index: (self._attend_specially(layer_index, segment, parts[index], scaling), None)
            for index, segment in enumerate(self.segments)
            if not segment.is_plain
        }
        for forward in self._forwards:
            attended |= forward.attend(layer_index, new, parts, scaling)
        for index, segment in enumerate(self.segments):
            _note(layer_index, segment, parts[index], attended[index][1], scaling)
        outs_HTD = [attended[index][0] for index in range(len(self.segments))]
        return outs_HTD[0] if len(outs_HTD) == 1 else torch.cat(outs_HTD, dim=1)

    def _attend_specially(self, layer_index: int, segment: Segment, new: Projected, scaling: float) -> torch.Tensor:
        if isinstance(segment, CommitSegment):
            return attend_recalling(layer_index, segment, new, scaling)
        assert isinstance(segment, TailSegment)
        return attend_asking(layer_index, segment, new, scaling, self._rope)


def _forwards(segments: Sequence[Segment], lengths: Sequence[int]) -> list[Forward]:
    """Who attends for the plain segments: those whose rows stand in an arena go through few calls together."""
    alone: dict[int, Reader] = {}
    packed: dict[int, Reader] = {}
    arena = None
    for index, segment in enumerate(segments):
        if not segment.is_plain:
            continue
        base = segment.tail.base if isinstance(segment, TailSegment) else _pending(segment).base
        arena_of_segment = base.layers[0].slab.arena
        arena = arena or arena_of_segment
        (alone if arena_of_segment is None else packed)[index] = segment
    forwards: list[Forward] = [ReferenceForward(alone)] if alone else []
    return forwards if arena is None else [*forwards, PackedForward(packed, lengths, arena)]


def _pending(segment: CommitSegment | ProbeSegment) -> PendingAppend:
    return segment.pending if isinstance(segment, CommitSegment) else segment.reads


def _note(layer_index: int, segment: Segment, new: Projected, mass_KN: torch.Tensor | None, scaling: float) -> None:
    """Keep what is wanted of a segment besides its outputs."""
    if isinstance(segment, CommitSegment):
        segment.pending.mark_written(layer_index)
        if segment.n_read:
            keys_KND = segment.own(layer_index).keys
            segment.mass[layer_index] = mass_of_newest(new.query_HTD[:, -segment.n_read :], keys_KND, scaling)
    elif isinstance(segment, ProbeSegment):
        if mass_KN is not None:
            segment.mass[layer_index] = mass_KN
        if segment.wants_query and layer_index in segment.layers:
            segment.query[layer_index] = new.raw_query_HTD.mean(dim=1)
