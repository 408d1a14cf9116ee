"""What a policy is told when frames were taken out of the memory that it looks after.

Shape letters: L layers, K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from hermes_stream.memory.view import MemoryView


@dataclass(frozen=True, slots=True, eq=False)
class Forgetting:
    """frames: numbers of those that are gone, and perhaps of some around them, as the token table counts.

    archive_rows_L: of each layer, the rows of its archive as it was that are left, int64, sorted.
    view: the memory as it is now.
    archived_keys: given a layer, the keys of its archive as it is now, `[K, N, D]`: un-rotated, or, if asked for so,
        where the rows stand.
    """

    frames: range
    archive_rows_L: tuple[torch.Tensor, ...]
    view: MemoryView
    archived_keys: Callable[[int, bool], torch.Tensor]

    def has_any_of(self, frames: range) -> bool:
        """Whether some of these frames are gone."""
        return max(self.frames.start, frames.start) < min(self.frames.stop, frames.stop)
