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
from hermes_stream.engine.tail import Tail
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.attention import (
    attend_causal,
    attend_with_tail,
    attention_by_head,
    lower_right_mask,
    mass_of_newest,
)
from hermes_stream.memory.recall import SeenRows
from hermes_stream.memory.rope import Rope, rotate
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


@dataclass(eq=False)
class TailSegment:
    """Tokens of a question or of its answer. The logits of its last token are wanted.

    n_read: of how many of its last tokens the attention to held tokens is wanted too; after the forward
    `attention[layer]` is their mean, `[H, N]`, prefix included.
    n_apart: how many of its first tokens see only the prefix of what is held, and one another. apart_distance: how far
    they stand from the prefix's end; they read it as if they followed it at once.
    """

    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    tail: Tail
    deepstack: DeepStack | None = None
    n_read: int = 0
    n_apart: int = 0
    apart_distance: int = 0
    attention: dict[int, torch.Tensor] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        return self.embeddings_TE.shape[0]


Segment = CommitSegment | ProbeSegment | TailSegment


@dataclass(frozen=True, slots=True, eq=False)
class _Projected:
    """What a layer made of the new tokens: rotated queries and keys, values, and both before their rotation."""

    query_HTD: torch.Tensor
    key_KTD: torch.Tensor
    value_KTD: torch.Tensor
    raw_query_HTD: torch.Tensor
    raw_key_KTD: torch.Tensor

    def split(self, lengths: list[int]) -> list[_Projected]:
        tensors = self.query_HTD, self.key_KTD, self.value_KTD, self.raw_query_HTD, self.raw_key_KTD
        return [_Projected(*parts) for parts in zip(*(x.split(lengths, dim=1) for x in tensors), strict=True)]


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
        self._masks: dict[tuple[int, int, torch.device], torch.Tensor] = {}

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
        return torch.cat(masks).to(self.embeddings_TE.device), [torch.cat(tap) for tap in taps]

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
        """Rotate, store and attend, segment by segment; returns `[H, T, D]`."""
        rows = _Projected(
            rotate(query_HTD, self._cos_TD, self._sin_TD),
            rotate(key_KTD, self._cos_TD, self._sin_TD),
            value_KTD,
            query_HTD,
            key_KTD,
        )
        parts = zip(self.segments, rows.split(self._lengths), strict=True)
        return torch.cat([self._attend_one(layer_index, segment, part, scaling) for segment, part in parts], dim=1)

    def _attend_one(self, layer_index: int, segment: Segment, rows: _Projected, scaling: float) -> torch.Tensor:
        if isinstance(segment, CommitSegment):
            return self._attend_commit(layer_index, segment, rows, scaling)
        if isinstance(segment, ProbeSegment):
            return _attend_probe(layer_index, segment, rows, scaling)
        return _attend_tail(layer_index, segment, rows, scaling, self._rope)

    def _attend_commit(
        self, layer_index: int, segment: CommitSegment, rows: _Projected, scaling: float
    ) -> torch.Tensor:
        query_HTD = rows.query_HTD
        written = segment.pending.write(layer_index, rows.key_KTD, rows.value_KTD, rows.raw_key_KTD)
        if segment.n_read:
            segment.mass[layer_index] = mass_of_newest(query_HTD[:, -segment.n_read :], written[0], scaling)
        if segment.sees is not None:
            seen = segment.sees.seen(layer_index, rows.raw_query_HTD, query_HTD)
            return _attend_seen(query_HTD, seen, rows.key_KTD, rows.value_KTD, scaling)
        mask_TN = self._mask(query_HTD.shape[1], written[0].shape[1], query_HTD.device)
        return attend_causal(query_HTD, *written, scaling, mask_TN)

    def _mask(self, n_queries: int, n_keys: int, device: torch.device) -> torch.Tensor | None:
        """Masks are the same in all layers that hold as many tokens; None where a single query sees all keys."""
        if n_queries == 1:
            return None
        key = n_queries, n_keys, device
        if key not in self._masks:
            self._masks[key] = lower_right_mask(*key)
        return self._masks[key]


def _attend_seen(
    query_HTD: torch.Tensor, seen: SeenRows, tail_key_KMD: torch.Tensor, tail_value_KMD: torch.Tensor, scaling: float
) -> torch.Tensor:
    out_HTD, _ = attend_with_tail(
        query_HTD,
        seen.keys_KND,
        seen.values_KND,
        tail_key_KMD,
        tail_value_KMD,
        scaling,
        visible_KN=seen.visible_KN,
    )
    return out_HTD


def _attend_probe(layer_index: int, segment: ProbeSegment, rows: _Projected, scaling: float) -> torch.Tensor:
    held = segment.reads.read(layer_index)
    is_wanted = layer_index in segment.layers
    want_mass = is_wanted and not segment.wants_query
    tail = rows.key_KTD, rows.value_KTD
    out_HTD, mass_KN = attend_with_tail(rows.query_HTD, *held, *tail, scaling, want_mass=want_mass)
    if mass_KN is not None:
        segment.mass[layer_index] = mass_KN
    if is_wanted and segment.wants_query:
        segment.query[layer_index] = rows.raw_query_HTD.mean(dim=1)
    return out_HTD


def _attend_tail(layer_index: int, segment: TailSegment, rows: _Projected, scaling: float, rope: Rope) -> torch.Tensor:
    base, n_apart = segment.tail.base, segment.n_apart
    tail_KMD = segment.tail.append(layer_index, rows.key_KTD, rows.value_KTD)
    seen = segment.tail.held(layer_index, rows.raw_query_HTD, rows.query_HTD)
    if segment.n_read:
        read_HTD = rows.query_HTD[:, -segment.n_read :]
        segment.attention[layer_index] = attention_by_head(read_HTD, seen.keys_KND, tail_KMD[0], scaling)
    out_HTD = _attend_seen(rows.query_HTD[:, n_apart:], seen, *tail_KMD, scaling)
    if not n_apart:
        return out_HTD
    prefix = base.prefix_moved(layer_index, segment.apart_distance, rope)
    apart = rows.key_KTD[:, :n_apart], rows.value_KTD[:, :n_apart]
    apart_HTD, _ = attend_with_tail(rows.query_HTD[:, :n_apart], *prefix, *apart, scaling)
    return torch.cat((apart_HTD, out_HTD), dim=1)
