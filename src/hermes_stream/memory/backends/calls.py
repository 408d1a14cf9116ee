"""What packed calls need to know of their segments: made on the host once per forward and sent to the device at once.

Shape letters: L layers, N segments of a call, T rows of a call, P parts into which held rows are split,
R rows of an arena, H query heads, K key/value heads, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hermes_stream.memory.arena import ArenaSlab
from hermes_stream.memory.backends.base import Rows
from hermes_stream.memory.backends.flash import packed_attention
from hermes_stream.memory.upload import upload


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `[first_row, first_row + n_new)` of a forward; for each layer what they attend to, None for nothing."""

    first_row: int
    n_new: int
    rows_L: Sequence[Rows | None]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One packed call: its tensors are on the device, its numbers on the host.

    rows_T: which rows of the forward go through, part by part; None is all of them, once.
    cu_q, k_start_LN, k_len_LN: see `packed_attention`; k_start has a last column that is not used.
    """

    rows_T: torch.Tensor | None
    cu_q: torch.Tensor
    k_start_LN: torch.Tensor
    k_len_LN: torch.Tensor
    max_q: int
    capacity: int
    n_parts: int = 1

    def attend(
        self,
        layer_index: int,
        query_THD: torch.Tensor,
        rows_RKD: tuple[torch.Tensor, torch.Tensor],
        scaling: float,
        *,
        causal: bool,
        want_lse: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`packed_attention` for the rows of the call, over the keys and values of a layer's arena."""
        return packed_attention(
            query_THD,
            *rows_RKD,
            self.cu_q,
            self.k_start_LN[layer_index],
            self.k_len_LN[layer_index],
            self.max_q,
            self.capacity,
            scaling,
            causal=causal,
            want_lse=want_lse,
        )


def make_call(segments: Sequence[Segment], device: torch.device, *, picks_rows: bool = False, n_parts: int = 1) -> Call:
    """The call of these segments.

    picks_rows: they are some of a forward's rows; otherwise all of them, in their order. n_parts: split the rows that
    each attends to in so many parts, each a segment of its own (not for causal calls).
    """
    k_start_LN, k_len_LN = _starts_and_lengths(segments)
    chunk = -(-max(int(k_len_LN.max()), 1) // n_parts)
    before_P1 = torch.arange(n_parts)[:, None] * chunk
    # Part by part, in each the segments in their order; those that end before a part have an empty one.
    k_start_LN = (k_start_LN[:, None] + before_P1.minimum(k_len_LN[:, None])).flatten(1)
    k_len_LN = (k_len_LN[:, None] - before_P1).clamp(0, chunk).flatten(1)
    n_new_N = torch.tensor([segment.n_new for segment in segments]).repeat(n_parts)
    rows_T = None
    if picks_rows:
        rows = torch.cat([torch.arange(s.first_row, s.first_row + s.n_new) for s in segments])
        rows_T = upload(rows.repeat(n_parts), device)
    return Call(
        rows_T,
        upload(torch.nn.functional.pad(n_new_N.cumsum(0), (1, 0)).int(), device),
        upload(torch.nn.functional.pad(k_start_LN, (0, 1)).int(), device),
        upload(k_len_LN.int(), device),
        max_q=max(segment.n_new for segment in segments),
        capacity=chunk,
        n_parts=n_parts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """Where new rows go: which rows of the forward (None is all), and in each layer to which rows, int64 `[L, T]`."""

    rows_T: torch.Tensor | None
    to_LT: torch.Tensor


def make_destination(
    segments: Sequence[Segment], n_rows: int, device: torch.device, *, raw: bool = False
) -> Destination | None:
    """Where the segments' new rows go: to the ends of the rows that they see. None if nothing is to be written.

    n_rows: of the forward. raw: among the un-rotated keys, for those that keep them.
    """
    segments = [s for s in segments if not raw or (s.rows_L[0] is not None and s.rows_L[0].slab.keeps_raw)]
    if not segments:
        return None
    first_LN = torch.tensor(
        [
            [_start(segment, layer, raw=raw) + _length(segment, layer) - segment.n_new for segment in segments]
            for layer in range(len(segments[0].rows_L))
        ]
    )
    n_new_N = torch.tensor([segment.n_new for segment in segments])
    offset_T = torch.cat([torch.arange(segment.n_new) for segment in segments])
    segment_T = torch.arange(len(segments)).repeat_interleave(n_new_N)
    to_LT = upload(first_LN, device)[:, upload(segment_T, device)] + upload(offset_T, device)
    if offset_T.numel() == n_rows:
        return Destination(None, to_LT)
    first_T = torch.tensor([segment.first_row for segment in segments]).repeat_interleave(n_new_N)
    return Destination(upload(first_T + offset_T, device), to_LT)


def _starts_and_lengths(segments: Sequence[Segment]) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 `[L, N]` each."""
    layers = range(len(segments[0].rows_L))
    starts = torch.tensor([[_start(segment, layer) for segment in segments] for layer in layers])
    lengths = torch.tensor([[_length(segment, layer) for segment in segments] for layer in layers])
    return starts, lengths


def _start(segment: Segment, layer_index: int, *, raw: bool = False) -> int:
    rows = segment.rows_L[layer_index]
    if rows is None:
        return 0
    assert isinstance(rows.slab, ArenaSlab)
    return rows.slab.raw_start if raw else rows.slab.start


def _length(segment: Segment, layer_index: int) -> int:
    rows = segment.rows_L[layer_index]
    return 0 if rows is None else rows.n_held
