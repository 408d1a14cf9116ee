"""Attention of many sessions in few calls: their rows stand in one arena.

In each layer one call for what new tokens see up to themselves (a chunk's memory with the chunk, a probe's or a
question's own tokens), and one for the held rows that questions and probes see besides; a second one for single rows,
which have a faster form. The parts meet by their log-sum-exp.

Shape letters: H query heads, K key/value heads, T rows of the forward or of a call, P parts, R rows of the arena,
D head dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hermes_stream.memory.arena import Arena
from hermes_stream.memory.backends.base import Attended, Projected, Reader, Rows
from hermes_stream.memory.backends.calls import Call, Destination, Segment, make_call, make_destination
from hermes_stream.memory.backends.flash import mass_from_lse, merge_parts
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab, Span
from hermes_stream.stages import PROBE, stage

# The operation gives each 128 query rows of a head to one block and does not divide their keys: held rows are split by
# hand until about as many blocks run as a large device has multiprocessors, in parts that are worth a block.
_WANTED_BLOCKS = 128
_QUERIES_PER_BLOCK = 128
_ROWS_PER_PART = 512


class FlashBackend:
    """All sessions of a model share one arena, which is made when the first memory wants room."""

    name = "flash"

    def __init__(self, reason: str = "it was asked for") -> None:
        self.reason = reason
        self.arena: Arena | None = None

    def empty_slab(self, shape: MemoryShape, layer_index: int, capacity: int, *, keep_raw: bool) -> Slab:
        if self.arena is None:
            self.arena = Arena(shape)
        return self.arena.slab(layer_index, capacity, keep_raw=keep_raw)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A call over held rows: which readers it is for, and where each one's rows begin in it."""

    call: Call
    first_row_of: Mapping[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """All that a forward needs on one device."""

    own: Call
    held: Sequence[_Held]
    rotated_to: Destination | None
    raw_to: Destination | None


class PackedForward:
    """The attention of the segments of a forward whose rows stand in an arena, by their numbers.

    lengths: of all segments of the forward. Rows are claimed when the first layer attends.
    """

    def __init__(self, readers: Mapping[int, Reader], lengths: Sequence[int], arena: Arena) -> None:
        self._readers = readers
        self._lengths = lengths
        self._first_rows = [sum(lengths[:index]) for index in range(len(lengths))]
        self._arena = arena
        self._own: dict[int, list[Rows]] = {}
        self._calls: dict[torch.device, _Calls] = {}

    def attend(
        self,
        layer_index: int,
        new: Projected,
        parts: Sequence[Projected],  # noqa: ARG002
        scaling: float,
    ) -> dict[int, Attended]:
        device = new.query_HTD.device
        if device not in self._calls:
            self._calls[device] = self._prepare(new.query_HTD.shape[0], device)
        calls = self._calls[device]
        self._write(layer_index, new, calls)
        query_THD, rows_RKD = new.query_HTD.transpose(0, 1), self._arena.rows(layer_index)
        out_THD, lse_HT = calls.own.attend(
            layer_index, query_THD, rows_RKD, scaling, causal=True, want_lse=bool(calls.held)
        )
        masses: dict[int, torch.Tensor] = {}
        for held in calls.held:
            assert lse_HT is not None
            masses |= self._add_held(layer_index, held, new.query_HTD, rows_RKD, out_THD, lse_HT, scaling)
        return {index: (out_THD[self._rows_of(index)].transpose(0, 1), masses.get(index)) for index in self._readers}

    def _rows_of(self, index: int) -> slice:
        return slice(self._first_rows[index], self._first_rows[index] + self._lengths[index])

    def _add_held(
        self,
        layer_index: int,
        held: _Held,
        query_HTD: torch.Tensor,
        rows_RKD: tuple[torch.Tensor, torch.Tensor],
        out_THD: torch.Tensor,
        lse_HT: torch.Tensor,
        scaling: float,
    ) -> dict[int, torch.Tensor]:
        """Put what held rows add into `out_THD`; returns the wanted masses."""
        call, rows_T = held.call, held.call.rows_T
        assert rows_T is not None
        query_THD = query_HTD[:, rows_T].transpose(0, 1)
        parts_THD, parts_HT = call.attend(layer_index, query_THD, rows_RKD, scaling, causal=False, want_lse=True)
        assert parts_HT is not None
        rows_T = rows_T[: rows_T.shape[0] // call.n_parts]
        out_PTHD = torch.cat((out_THD[rows_T][None], parts_THD.unflatten(0, (call.n_parts, -1))))
        lse_PHT = torch.cat((lse_HT[:, rows_T][None], parts_HT.unflatten(1, (call.n_parts, -1)).transpose(0, 1)))
        merged_THD, merged_HT = merge_parts(out_PTHD, lse_PHT)
        out_THD.index_copy_(0, rows_T, merged_THD)
        masses = {}
        for index, first_row in held.first_row_of.items():
            reader = self._readers[index]
            rows = reader.held(layer_index)
            if rows is not None and reader.wants_mass(layer_index):
                lse = merged_HT[:, first_row : first_row + reader.n_rows]
                with stage(PROBE):
                    masses[index] = mass_from_lse(query_HTD[:, self._rows_of(index)], rows.keys, lse, scaling)
        return masses

    def _write(self, layer_index: int, new: Projected, calls: _Calls) -> None:
        keys_RKD, values_RKD = self._arena.rows(layer_index)
        _scatter(layer_index, calls.rotated_to, (keys_RKD, new.key_KTD), (values_RKD, new.value_KTD))
        _scatter(layer_index, calls.raw_to, (self._arena.raw_rows(layer_index), new.raw_key_KTD))

    def _prepare(self, n_heads: int, device: torch.device) -> _Calls:
        layers = range(self._arena.n_layers)
        if not self._own:
            self._own = {index: [_own(reader, layer) for layer in layers] for index, reader in self._readers.items()}
        nothing = [None] * len(layers)
        first_rows = zip(self._first_rows, self._lengths, strict=True)
        # Segments that others attend for take part without rows to see: so the call has all rows, in their order.
        own = [Segment(*rows, self._own.get(index, nothing)) for index, rows in enumerate(first_rows)]
        written = [segment for index, segment in enumerate(own) if index in self._own]
        n_rows = sum(self._lengths)
        return _Calls(
            make_call(own, device),
            [self._held_call(group, n_heads, device) for group in self._groups()],
            make_destination(written, n_rows, device),
            make_destination(written, n_rows, device, raw=True),
        )

    def _groups(self) -> list[list[int]]:
        """Readers that see held rows: single rows and longer segments apart; none are empty."""
        riders = [index for index, reader in self._readers.items() if reader.held(0) is not None]
        groups = [
            [index for index in riders if (self._lengths[index] == 1) == is_single] for is_single in (True, False)
        ]
        return [group for group in groups if group]

    def _held_call(self, group: Sequence[int], n_heads: int, device: torch.device) -> _Held:
        layers = range(self._arena.n_layers)
        segments = [
            Segment(self._first_rows[index], self._lengths[index], [self._readers[index].held(i) for i in layers])
            for index in group
        ]
        longest = max(rows.n_held for segment in segments for rows in segment.rows_L if rows is not None)
        n_parts = _n_parts([segment.n_new for segment in segments], n_heads, longest)
        ends = torch.tensor([segment.n_new for segment in segments]).cumsum(0).tolist()
        first_row_of = dict(zip(group, [0, *ends[:-1]], strict=True))
        return _Held(make_call(segments, device, picks_rows=True, n_parts=n_parts), first_row_of)


def _own(reader: Reader, layer_index: int) -> Rows:
    """A reader's own rows; those that go nowhere get a place for the length of the forward."""
    own = reader.own(layer_index)
    if own is not None:
        return own
    held = reader.held(layer_index)
    assert held is not None
    slab = held.slab.for_tail(reader.n_rows)
    return Span(slab.claim(0, reader.n_rows), reader.n_rows)


def _n_parts(n_new: Sequence[int], n_heads: int, longest: int) -> int:
    """Into how many parts held rows are split so that the device is filled; single rows are split by the operation."""
    if max(n_new) == 1:
        return 1
    n_blocks = n_heads * sum(-(-n // _QUERIES_PER_BLOCK) for n in n_new)
    return max(1, min(_WANTED_BLOCKS // n_blocks, longest // _ROWS_PER_PART))


def _scatter(layer_index: int, to: Destination | None, *pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Write new rows `[K, T, D]` to rows `[R, K, D]` of the arena."""
    if to is None:
        return
    for rows_RKD, new_KTD in pairs:
        new_KTD = new_KTD if to.rows_T is None else new_KTD[:, to.rows_T]
        rows_RKD.index_copy_(0, to.to_LT[layer_index], new_KTD.transpose(0, 1))
