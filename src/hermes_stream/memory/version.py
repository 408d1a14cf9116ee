"""A memory at one moment: immutable, shared by whoever holds a reference.

Shape letters: K key/value heads, H heads with rows of their own (1 when all hold the same), N held tokens, D head
dimension.

Rows of a layer: `[0, n_prefix)` prefix, never evicted and never moved; `[n_prefix, n_held)` everything else, in time
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hermes_stream.memory.archive import EMPTY_ARCHIVE, LayerArchive
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.positions import spread_times
from hermes_stream.memory.rope import Rope, rotate, unrotate
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.types import VisualTokens


@dataclass(frozen=True, slots=True, eq=False)
class LayerMemory:
    """One layer of one version.

    n_dropped_H: vision tokens seen that no held row stands for any more. archive: rows that were copied out; a row may
    be held and archived.
    """

    slab: Slab
    table: TokenTable
    n_dropped_H: torch.Tensor
    archive: LayerArchive = EMPTY_ARCHIVE

    @property
    def n_held(self) -> int:
        return self.table.n_tokens

    @property
    def keys(self) -> torch.Tensor:
        """Rotated keys, `[K, N, D]`."""
        return self.slab.keys_at(self.table.position_RHN)

    @property
    def values(self) -> torch.Tensor:
        """Values, `[K, N, D]`."""
        return self.slab.values(self.n_held)

    def rows_since(self, first_frame: int, n_prefix: int) -> torch.Tensor:
        """Rows of this frame and of newer ones in all heads, int64, counted from the first after the prefix."""
        return (self.table.frame_HN[:, n_prefix:] >= first_frame).all(dim=0).nonzero()[:, 0]

    def raw_keys(self, rope: Rope) -> torch.Tensor:
        """Un-rotated keys, `[K, N, D]`: the stored ones, or the rotated ones turned back."""
        if self.slab.keeps_raw:
            return self.slab.raw_keys(self.n_held)
        exact = torch.promote_types(self.keys.dtype, torch.float32)
        cos, sin = rope.tables(self.table.position_RHN, exact)
        return unrotate(self.keys.to(exact), cos, sin).to(self.keys.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class MemoryVersion:
    """The held tokens of all layers at one moment. Holding a reference is all that pinning takes.

    next_position: past the largest position on any axis, one clock for all layers.
    grid_end: past the largest position of the frames so far on axes that do not show their time, held or not.
    time_start, newest_time: positions of the stream's first moment and of its newest frame, held or not, on the time
        axis; they matter for models with absolute time and fall with each compaction.
    moved: how far compactions have moved the clock back since the stream began.
    settled_at: `next_position` when rows were last planned or placed. Archived rows that positions do not reach stand
        before it, so that all frames of an interval see them at the same places (law 4).
    features: encoded tokens that have not gone through the text model (policies that hold features).
    n_seen: vision tokens committed since the stream began. n_text: of commentary, as many tokens of text.
    frames_seen: sampled frames; grids_seen: frames as the memory numbers them (Qwen makes one grid of two frames).
    time_seconds: of the newest sampled frame.
    """

    shape: MemoryShape
    layers: tuple[LayerMemory, ...]
    n_prefix: int
    next_position: int
    grid_end: int
    time_start: int
    newest_time: int
    next_identity: int
    n_seen: int
    frames_seen: int
    grids_seen: int
    time_seconds: float
    number: int
    features: FeatureBank
    moved: int = 0
    settled_at: int = 0
    n_text: int = 0

    @property
    def held_tokens(self) -> tuple[int, ...]:
        """Vision, text and summary tokens held by each layer, prefix apart."""
        return tuple(layer.n_held - self.n_prefix for layer in self.layers)

    @property
    def n_bytes(self) -> int:
        """Bytes of the held rows, prefix included, all layers, truth and working copy, and of held features."""
        rows = sum(layer.n_held * layer.slab.bytes_per_row for layer in self.layers)
        return rows + self.features.n_bytes

    @property
    def archived_tokens(self) -> tuple[int, ...]:
        """Rows in the archive of each layer."""
        return tuple(layer.archive.n_rows for layer in self.layers)

    def archive_bytes(self, *, disk: bool = False) -> int:
        """Bytes of archived keys and values in host memory, or on disk."""
        return sum(layer.archive.bytes_on(disk=disk) for layer in self.layers)

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the slabs behind this version, room to grow included."""
        return sum(layer.slab.allocated_bytes for layer in self.layers)

    def place(self, tokens: VisualTokens) -> torch.Tensor:
        """Where encoded frames would stand if they came next: int64 `[axes, n_tokens]`, on their own device."""
        if not self.shape.has_absolute_time:
            return tokens.positions_RN + self.next_position
        start_R = torch.full((self.shape.n_axes, 1), self.n_prefix)
        start_R[list(self.shape.time_axes)] = self.time_start
        return tokens.positions_RN + start_R

    def place_before(self, tokens: VisualTokens, end: int) -> torch.Tensor:
        """The same, for frames that only a question sees: if they would pass the end, the longest gaps in time between
        them and the newest frame shrink to a common cap, as far as they can (families with absolute time).
        """
        position_RN = self.place(tokens)
        if not self.shape.has_absolute_time or int(position_RN.max()) < end:
            return position_RN
        axes = list(self.shape.time_axes)
        time_U, index_N = position_RN[axes[0]].unique(return_inverse=True)
        times = [self.newest_time, *time_U.tolist()]
        new = spread_times(times, self.newest_time, max(end - 1 - self.newest_time, 0))
        position_RN[axes] = torch.tensor(new[1:])[index_N]
        return position_RN

    def end_after(self, tokens: VisualTokens) -> int:
        """The next position once the frames stand there."""
        if not self.shape.has_absolute_time:
            return self.next_position + tokens.n_positions
        return max(self.next_position, int(self.place(tokens).max()) + 1)

    def clocks_after(self, tokens: VisualTokens, ends_G: Sequence[int]) -> list[tuple[int, int]]:
        """`next_position` and `grid_end` once each grid of these frames stands there.

        ends_G: what `tokens.ends_of_grids` said before tokens were dropped, for families without absolute time.
        """
        if not self.shape.has_absolute_time:
            return [(self.next_position + end, self.next_position + end) for end in ends_G]
        position_RN = self.place(tokens)
        cell_axes = [axis for axis in range(self.shape.n_axes) if axis not in self.shape.time_axes]
        ends = []
        for end_N, so_far in ((position_RN, self.next_position), (position_RN[cell_axes], self.grid_end)):
            end_G = torch.full((tokens.n_grids,), so_far)
            end_G.scatter_reduce_(0, tokens.frame_N, end_N.amax(dim=0) + 1, "amax")
            ends.append(end_G.cummax(dim=0).values.tolist())
        return list(zip(*ends, strict=True))

    @property
    def text_position(self) -> int:
        """Where text goes that follows what was seen."""
        return self.grid_end if self.shape.text_overlaps_times else self.next_position

    def text_after(self, tokens: VisualTokens) -> int:
        """Where text goes once the frames stand there."""
        return max(self.text_position, self.shape.text_after(self.place(tokens)))

    def with_features(self, tokens: VisualTokens, time_seconds: float) -> MemoryVersion:
        """The version after these frames were encoded, the newest shown at `time_seconds`; they wait as features."""
        features = self.features.append(
            tokens, self.shape, first_frame=self.grids_seen, first_identity=self.next_identity
        )
        return replace(
            self,
            features=features,
            next_identity=self.next_identity + tokens.frame_N.numel(),
            frames_seen=self.frames_seen + tokens.n_frames,
            grids_seen=self.grids_seen + tokens.n_grids,
            time_seconds=time_seconds,
            number=self.number + 1,
        )

    def with_text_features(
        self, embeddings_NE: torch.Tensor, first_seconds: float, last_seconds: float
    ) -> MemoryVersion:
        """The version after words about frames of some time, `[N, E]`, which wait as features with the newest frame."""
        features = self.features.append_text(
            embeddings_NE,
            self.shape,
            frame=self.grids_seen - 1,
            seconds_2=torch.tensor([first_seconds, last_seconds], dtype=torch.float64),
            first_identity=self.next_identity,
        )
        return replace(
            self,
            features=features,
            next_identity=self.next_identity + embeddings_NE.shape[0],
            number=self.number + 1,
        )

    def prefix_moved(self, layer_index: int, n_positions: int, rope: Rope) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer's prefix, `[K, N, D]`, as if it stood so many positions later on the time axes."""
        layer = self.layers[layer_index]
        table = layer.table.slice(0, self.n_prefix)
        position_RHN = table.position_RHN.clone()
        position_RHN[list(self.shape.time_axes)] += n_positions
        raw_KND = replace(layer, table=table).raw_keys(rope)
        return rotate(raw_KND, *rope.tables(position_RHN, raw_KND.dtype)), layer.values[:, : self.n_prefix]

    def prefix_only(self) -> MemoryVersion:
        """The same stream as if only its prefix were held; shares storage."""
        layers = tuple(replace(layer, table=layer.table.slice(0, self.n_prefix)) for layer in self.layers)
        return replace(self, layers=layers, next_position=self.n_prefix, grid_end=self.n_prefix)
