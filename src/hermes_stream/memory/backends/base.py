"""What a backend is given and what it must do.

Shape letters: H query heads, K key/value heads, T new tokens (packed), N held tokens, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """What a layer made of the new tokens: rotated queries and keys, values, and both before their rotation."""

    query_HTD: torch.Tensor
    key_KTD: torch.Tensor
    value_KTD: torch.Tensor
    raw_query_HTD: torch.Tensor
    raw_key_KTD: torch.Tensor

    def split(self, lengths: Sequence[int]) -> list[Projected]:
        """One for each segment of the forward."""
        if len(lengths) == 1:
            return [self]
        tensors = self.query_HTD, self.key_KTD, self.value_KTD, self.raw_query_HTD, self.raw_key_KTD
        return [Projected(*parts) for parts in zip(*(x.split(list(lengths), dim=1) for x in tensors), strict=True)]


class Rows(Protocol):
    """Rows of one layer that are attended to: a layer of a memory, or of a tail."""

    @property
    def slab(self) -> Slab: ...

    @property
    def n_held(self) -> int: ...

    @property
    def keys(self) -> torch.Tensor:
        """Rotated keys, `[K, N, D]`."""
        ...

    @property
    def values(self) -> torch.Tensor:
        """`[K, N, D]`."""
        ...


class Reader(Protocol):
    """One segment of a forward, as a backend sees it: new tokens, and the rows that they attend to.

    n_rows: how many new tokens.
    own: rows that end with the new ones, which are claimed and not written yet; each token sees them up to itself. None
        where the new rows are needed in this layer alone and go nowhere.
    held: rows that all of the new tokens see besides; None for none. They are written before this reader attends if the
        segment that writes them comes before it.
    wants_mass: whether the mean attention to each held row is wanted.
    """

    @property
    def n_rows(self) -> int: ...

    def own(self, layer_index: int) -> Rows | None: ...

    def held(self, layer_index: int) -> Rows | None: ...

    def wants_mass(self, layer_index: int) -> bool: ...


# A reader's outputs [H, T, D] and, if it wants it, the mean attention to its held rows, float32 at least [K, N].
Attended = tuple[torch.Tensor, torch.Tensor | None]


class Forward(Protocol):
    """The attention of some segments of one forward, layer by layer."""

    def attend(
        self, layer_index: int, new: Projected, parts: Sequence[Projected], scaling: float
    ) -> dict[int, Attended]:
        """Write the new rows of all its readers, and attend; by number of the segment.

        new: of all segments of the forward, one after the other. parts: the same, segment by segment.
        """
        ...


class Backend(Protocol):
    """Where rows live, and how new tokens attend to them.

    name, reason: what it is, and why it is in use, for people.
    """

    name: str
    reason: str

    def empty_slab(self, shape: MemoryShape, layer_index: int, capacity: int, *, keep_raw: bool) -> Slab:
        """Room for a layer's rows."""
        ...
