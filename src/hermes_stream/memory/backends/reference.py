"""Attention on any device that PyTorch's own operators run on, segment by segment.

Shape letters: T new tokens, N held tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from hermes_stream.memory.attention import attend_causal, attend_with_tail, lower_right_mask
from hermes_stream.memory.backends.base import Attended, Projected, Reader, Rows
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab
from hermes_stream.stages import PROBE, stage

# From so many queries on a fused call pays for the copy that puts held keys and a tail's in one place: half the time at
# 64 queries over 4,096 keys, as much at 16 (PyTorch 2.13 on a CPU).
_FEWEST_FUSED = 17


class ReferenceBackend:
    """Each slab has a tensor of its own; products, explicit masks and a softmax in float32 at least."""

    name = "reference"

    def __init__(self, reason: str = "nothing else was asked for") -> None:
        self.reason = reason

    def empty_slab(self, shape: MemoryShape, layer_index: int, capacity: int, *, keep_raw: bool) -> Slab:
        return Slab.empty(
            shape.n_kv_heads,
            shape.head_dim,
            capacity,
            dtype=shape.dtype,
            device=shape.device_of(layer_index),
            keep_raw=keep_raw,
        )


class ReferenceForward:
    """The attention of the given segments of a forward, by their numbers."""

    def __init__(self, readers: Mapping[int, Reader]) -> None:
        self._readers = readers
        self._masks: dict[tuple[int, int, torch.device], torch.Tensor] = {}

    def attend(
        self,
        layer_index: int,
        new: Projected,  # noqa: ARG002
        parts: Sequence[Projected],
        scaling: float,
    ) -> dict[int, Attended]:
        return {
            index: self._attend(layer_index, reader, parts[index], scaling) for index, reader in self._readers.items()
        }

    def _attend(self, layer_index: int, reader: Reader, new: Projected, scaling: float) -> Attended:
        own = reader.own(layer_index)
        if own is None:
            with stage(PROBE):
                return self._attend_to(layer_index, reader, None, new, scaling)
        return self._attend_to(layer_index, reader, own, new, scaling)

    def _attend_to(
        self, layer_index: int, reader: Reader, own: Rows | None, new: Projected, scaling: float
    ) -> Attended:
        keys, values = new.key_KTD, new.value_KTD
        if own is not None:
            own.slab.write(own.n_held - reader.n_rows, new.key_KTD, new.value_KTD, new.raw_key_KTD)
            keys, values = own.keys, own.values
        held, want_mass = reader.held(layer_index), reader.wants_mass(layer_index)
        if held is not None and (want_mass or reader.n_rows < _FEWEST_FUSED):
            held_KND = held.keys, held.values
            return attend_with_tail(new.query_HTD, *held_KND, keys, values, scaling, want_mass=want_mass)
        if held is not None:
            keys, values = torch.cat((held.keys, keys), dim=1), torch.cat((held.values, values), dim=1)
        mask_TN = self._mask(reader.n_rows, keys.shape[1], keys.device)
        return attend_causal(new.query_HTD, keys, values, scaling, mask_TN), None

    def _mask(self, n_queries: int, n_keys: int, device: torch.device) -> torch.Tensor | None:
        """Masks are the same in all layers that hold as many tokens; None where a single query sees all keys."""
        if n_queries == 1:
            return None
        key = n_queries, n_keys, device
        if key not in self._masks:
            self._masks[key] = lower_right_mask(*key)
        return self._masks[key]
