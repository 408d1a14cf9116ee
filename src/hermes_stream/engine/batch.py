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

from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.attention import attend_causal, attend_with_tail, attention_by_head, lower_right_mask
from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.types import VisualTokens


class Tail:
    """Keys and values that belong to one question alone; grows with its answer, dies with it."""

    def __init__(self, base: MemoryVersion) -> None:
        self.base = base
        self.next_position = base.text_position
        self._rows: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(base.layers)
        self._used = [0] * len(base.layers)

    def append(
        self, layer_index: int, key_KTD: torch.Tensor, value_KTD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns all keys and values of the tail in this layer, `[K, M, D]`."""
        n_kv_heads, n_new, head_dim = key_KTD.shape
        used = self._used[layer_index]
        rows = self._rows[layer_index]
        if rows is None or used + n_new > rows[0].shape[1]:
            # Room for the answer's tokens, so that a decode step seldom copies.
            grown = tuple(key_KTD.new_empty(n_kv_heads, used + n_new + 32, head_dim) for _ in range(2))
            if rows is not None:
                for new, old in zip(grown, rows, strict=True):
                    new[:, :used] = old[:, :used]
            rows = (grown[0], grown[1])
            self._rows[layer_index] = rows
        keys, values = rows
        keys[:, used : used + n_new] = key_KTD
        values[:, used : used + n_new] = value_KTD
        self._used[layer_index] = used + n_new
        return keys[:, : used + n_new], values[:, : used + n_new]


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
    """Tokens `[T, E]` that enter a memory."""

    embeddings_TE: torch.Tensor
    pending: PendingAppend
    deepstack: DeepStack | None = None

    @property
    def position_RT(self) -> torch.Tensor:
        return self.pending.rows.table.position_RHN[:, 0]


@dataclass(eq=False)
class ProbeSegment:
    """Text tokens that read a pending append and report their attention; nothing of them stays.

    layers: where attention is wanted; after the forward `mass[layer]` is `[K, N]`, prefix included.
    """

    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    reads: PendingAppend
    layers: frozenset[int]
    deepstack: None = None
    mass: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class TailSegment:
    """Tokens of a question or of its answer. The logits of its last token are wanted.

    n_read: of how many of its last tokens the attention to held tokens is wanted too; after the forward
    `attention[layer]` is their mean, `[H, N]`, prefix included.
    n_apart: of how many of its first tokens see only the prefix of what is held, and one another.
    """

    embeddings_TE: torch.Tensor
    position_RT: torch.Tensor
    tail: Tail
    deepstack: DeepStack | None = None
    n_read: int = 0
    n_apart: int = 0
    attention: dict[int, torch.Tensor] = field(default_factory=dict)


Segment = CommitSegment | ProbeSegment | TailSegment


class PackedBatch:
    """What one forward is made of, and the attention of each of its layers.

    A probe must come after the commit that it reads. After the forward, `last_rows` are the rows whose logits the
    tail segments want, in segment order.
    """

    def __init__(self, segments: Sequence[Segment], rope: Rope) -> None:
        self.segments = list(segments)
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
        rotated_query_HTD = rotate(query_HTD, self._cos_TD, self._sin_TD)
        rotated_key_KTD = rotate(key_KTD, self._cos_TD, self._sin_TD)
        parts = zip(
            self.segments,
            rotated_query_HTD.split(self._lengths, dim=1),
            rotated_key_KTD.split(self._lengths, dim=1),
            value_KTD.split(self._lengths, dim=1),
            key_KTD.split(self._lengths, dim=1),
            strict=True,
        )
        return torch.cat([self._attend_one(layer_index, *part, scaling) for part in parts], dim=1)

    def _attend_one(
        self,
        layer_index: int,
        segment: Segment,
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        raw_key_KTD: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        if isinstance(segment, CommitSegment):
            keys_KND, values_KND = segment.pending.write(layer_index, key_KTD, value_KTD, raw_key_KTD)
            mask_TN = self._mask(query_HTD.shape[1], keys_KND.shape[1], query_HTD.device)
            return attend_causal(query_HTD, keys_KND, values_KND, scaling, mask_TN)
        if isinstance(segment, ProbeSegment):
            held = segment.reads.read(layer_index)
            want_mass = layer_index in segment.layers
            out_HTD, mass_KN = attend_with_tail(query_HTD, *held, key_KTD, value_KTD, scaling, want_mass=want_mass)
            if mass_KN is not None:
                segment.mass[layer_index] = mass_KN
            return out_HTD
        return _attend_tail(layer_index, segment, query_HTD, key_KTD, value_KTD, scaling)

    def _mask(self, n_queries: int, n_keys: int, device: torch.device) -> torch.Tensor | None:
        """Masks are the same in all layers that hold as many tokens; None where a single query sees all keys."""
        if n_queries == 1:
            return None
        key = n_queries, n_keys, device
        if key not in self._masks:
            self._masks[key] = lower_right_mask(*key)
        return self._masks[key]


def _attend_tail(
    layer_index: int,
    segment: TailSegment,
    query_HTD: torch.Tensor,
    key_KTD: torch.Tensor,
    value_KTD: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    base, n_apart = segment.tail.base, segment.n_apart
    layer = base.layers[layer_index]
    tail_KMD = segment.tail.append(layer_index, key_KTD, value_KTD)
    if segment.n_read:
        read_HTD = query_HTD[:, -segment.n_read :]
        segment.attention[layer_index] = attention_by_head(read_HTD, layer.keys, tail_KMD[0], scaling)
    out_HTD, _ = attend_with_tail(query_HTD[:, n_apart:], layer.keys, layer.values, *tail_KMD, scaling)
    if not n_apart:
        return out_HTD
    prefix = layer.keys[:, : base.n_prefix], layer.values[:, : base.n_prefix]
    apart = key_KTD[:, :n_apart], value_KTD[:, :n_apart]
    apart_HTD, _ = attend_with_tail(query_HTD[:, :n_apart], *prefix, *apart, scaling)
    return torch.cat((apart_HTD, out_HTD), dim=1)
