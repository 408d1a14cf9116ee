"""Questions, and new frames, that see more or less than the memory: the policy chooses as they pass each layer.

Shape letters: H query heads, T new tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hermes_stream.engine.read_ahead import ReadAhead
from hermes_stream.memory.recall import Placement, Recalled, SeenRows, extent, see, seen_table
from hermes_stream.memory.rope import Rope
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import LayerView
from hermes_stream.policies.base import Policy, ViewSpec
from hermes_stream.policies.recall import Asked


class Chooser:
    """What is recalled of one version, layer by layer in one forward, by the queries that pass.

    asked, recalled: of the layers that were passed.
    """

    def __init__(
        self, policy: Policy, state: Any, version: MemoryVersion, rope: Rope, spec: ViewSpec, end: int
    ) -> None:
        """end: where the rows of a view end, that is, where those who see them begin."""
        self._policy, self._state, self._version, self._rope, self._spec = policy, state, version, rope, spec
        self._end = end
        self.asked: list[Asked] = []
        self.recalled: list[Recalled] = []

    def seen(self, layer_index: int, query_HTD: torch.Tensor, rotated_query_HTD: torch.Tensor) -> SeenRows:
        """What is seen in a layer; called once for each, and not kept: rows of one layer at a time are unpacked."""
        # A forward that failed is run again from the first layer.
        del self.asked[layer_index:], self.recalled[layer_index:]
        layer = self._version.layers[layer_index]
        held = LayerView.of(layer, self._version.n_prefix, self._rope, {})
        asked = Asked(query_HTD, rotated_query_HTD, layer.archive, held, self._spec.sees_held)
        recalled = self._policy.recall(layer_index, asked, self._state)
        self.asked.append(asked)
        self.recalled.append(recalled)
        return _see(self._version, layer_index, recalled, self._rope, self._spec, self._end)

    def settle(self) -> list[Recalled]:
        """What the answer sees, once every layer was passed."""
        return list(self._policy.settle(self.asked, self.recalled, self._state))


class Settled:
    """Rows that are known before a forward begins; each layer's are gathered when it is first passed, or before it.

    end: where a view of them ends in the layer that sees most.
    """

    def __init__(self, version: MemoryVersion, recalled: Sequence[Recalled], rope: Rope, spec: ViewSpec) -> None:
        self._version, self._recalled, self._spec = version, recalled, spec
        self.end = end = version.text_position if spec.positions == "stored" else self._end_of_view()
        devices = tuple(version.shape.device_of(index) for index in range(version.shape.n_layers))
        # Without `self` in it: rows of all layers would outlive the question until the garbage collector comes.
        self._seen = ReadAhead(lambda index: _see(version, index, recalled[index], rope, spec, end), devices)

    def seen(self, layer_index: int) -> SeenRows:
        return self._seen[layer_index]

    def table(self, layer_index: int) -> TokenTable:
        """What the rows are that a layer sees, prefix first."""
        layer, recalled = self._version.layers[layer_index], self._recalled[layer_index]
        return seen_table(self._version, layer, recalled, sees_held=self._spec.sees_held)

    @property
    def n_rows(self) -> tuple[int, ...]:
        """Rows that each layer sees, prefix apart."""
        return tuple(
            self._count(held, recalled)
            for held, recalled in zip(self._version.held_tokens, self._recalled, strict=True)
        )

    def _count(self, n_held: int, recalled: Recalled) -> int:
        n_archived = 0 if recalled.archive_rows is None else recalled.archive_rows.numel()
        if recalled.held_rows is not None:
            return n_archived + recalled.held_rows.numel()
        return n_archived + (n_held if self._spec.sees_held else 0)

    def _end_of_view(self) -> int:
        version, sees_held = self._version, self._spec.sees_held
        return max(
            extent(version, layer, recalled, sees_held=sees_held)
            for layer, recalled in zip(version.layers, self._recalled, strict=True)
        )


def most_seen(version: MemoryVersion) -> int:
    """Where a view ends at most, by its rows, in a model that has so many positions."""
    rows = [held + archived for held, archived in zip(version.held_tokens, version.archived_tokens, strict=True)]
    return version.n_prefix + min(max(rows), version.shape.max_positions // 2)


def _see(
    version: MemoryVersion, layer_index: int, recalled: Recalled, rope: Rope, spec: ViewSpec, end: int
) -> SeenRows:
    placement: Placement = spec.positions
    layer = version.layers[layer_index]
    return see(version, layer, recalled, rope, sees_held=spec.sees_held, placement=placement, end=end)
