"""What stores the keys and values of one layer, whatever their precision.

Shape letters: K key/value heads, H table heads (1 or K), N tokens, D head dimension, R position axes.
"""

from __future__ import annotations

from typing import Literal, Protocol, Self

import torch

# 16: the model's own precision; 8: see `QuantisedSlab`.
MemoryBits = Literal[16, 8]


class RowStore(Protocol):
    """Rows of keys and values with room to grow.

    Rows `[0, n_used)` are never written again, so any number of readers may hold a prefix of them. A writer that
    continues at `n_used` appends in place; one that continues earlier (a fork, or a failed forward) gets a copy.
    Not thread-safe: one thread writes. What is read must not be written to.
    """

    n_used: int

    @property
    def keeps_raw(self) -> bool:
        """Whether `raw_keys` may be called."""
        ...

    @property
    def keeps_rotated(self) -> bool:
        """Whether rotated keys are stored, and must be replaced when positions change."""
        ...

    @property
    def capacity(self) -> int: ...

    @property
    def bytes_per_row(self) -> int: ...

    @property
    def allocated_bytes(self) -> int: ...

    def keys(self, position_RHN: torch.Tensor) -> torch.Tensor:
        """Rotated keys of the first N rows, which stand at these positions: `[K, N, D]`."""
        ...

    def values(self, n: int) -> torch.Tensor:
        """Values of the first n rows, `[K, n, D]`."""
        ...

    def raw_keys(self, n: int) -> torch.Tensor:
        """Un-rotated keys of the first n rows, `[K, n, D]`. Only if `keeps_raw`."""
        ...

    def parts(self, n: int) -> tuple[torch.Tensor, ...]:
        """All that is stored of the first n rows, sharing storage."""
        ...

    def of_parts(self, parts: tuple[torch.Tensor, ...]) -> Self:
        """A store of this kind that holds what `parts` gave, and has no room beyond."""
        ...

    def append(self, n_held: int, rotated_KND: torch.Tensor, value_KND: torch.Tensor, raw_KND: torch.Tensor) -> Self:
        """Write rows after the first `n_held`; returns the store that holds them (this one, or a larger copy)."""
        ...

    def select(self, rows: torch.Tensor, capacity: int) -> Self:
        """A new store with the given rows first: `[n]` for all heads alike, or `[K, n]` for each head its own."""
        ...

    def replace_keys(self, rotated_KND: torch.Tensor) -> None:
        """Overwrite the rotated keys of all rows. Only if `keeps_rotated`, and for one that no reader has seen yet."""
        ...


def grown_capacity(n_rows: int, capacity: int) -> int:
    """Room of a copy that must hold so many rows: twice as much as before, within reason."""
    return max(n_rows, min(2 * capacity, n_rows + 4096))
