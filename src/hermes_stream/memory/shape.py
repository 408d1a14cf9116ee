"""What a model asks of its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

# 16: the model's own precision; 8: see `QuantisedSlab`.
MemoryBits = Literal[16, 8]


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """What a model asks of its memory.

    max_positions: positions `[0, max_positions)` exist.
    time_axes: position axes on which the time of a frame shows.
    has_absolute_time: vision positions count from the start of the stream (Qwen2.5-VL); otherwise each span begins
        where the last one ended.
    layer_devices: where each layer's keys and values are, if not all on `device`, which has everything else.
    text_overlaps_times: with absolute time, text goes on behind the rows and columns of the frames, not their times.
    """

    n_layers: int
    n_kv_heads: int
    head_dim: int
    n_axes: int
    max_positions: int
    dtype: torch.dtype
    device: torch.device
    time_axes: tuple[int, ...] = (0,)
    has_absolute_time: bool = False
    text_overlaps_times: bool = False
    layer_devices: tuple[torch.device, ...] = ()

    @property
    def longest_span(self) -> int:
        """How much of the positions the held times may take after a compaction: half, so that it is not soon needed."""
        return self.max_positions // 2

    @property
    def reach(self) -> int:
        """How far before the last plan's clock archived rows may stand: what comes until the next, and a question,
        see them from an eighth of the positions further on."""
        return self.max_positions - self.max_positions // 8

    def device_of(self, layer_index: int) -> torch.device:
        """Where a layer's keys and values are."""
        return self.layer_devices[layer_index] if self.layer_devices else self.device

    def grid_end(self, position_RN: torch.Tensor) -> int:
        """Past the largest of these positions on axes that do not show time; on any axis where all do."""
        axes = [axis for axis in range(self.n_axes) if axis not in self.time_axes]
        return int((position_RN[axes] if axes else position_RN).max()) + 1

    def text_after(self, position_RN: torch.Tensor) -> int:
        """Where text stands that follows frames at these positions."""
        return self.grid_end(position_RN) if self.text_overlaps_times else int(position_RN.max()) + 1

    def bytes_per_token(self, *, keep_raw: bool = True, memory_bits: MemoryBits = 16) -> int:
        """Bytes of one token over all layers: rotated key, value, and un-rotated key if kept; or as `QuantisedSlab`."""
        if memory_bits == 8:
            return 2 * self.n_layers * self.n_kv_heads * (self.head_dim + 2)
        element = torch.empty(0, dtype=self.dtype).element_size()
        return (3 if keep_raw else 2) * self.n_layers * self.n_kv_heads * self.head_dim * element
