"""New positions for the rows of a version, and the working copies of their keys.

Shape letters: R position axes, H heads with rows of their own, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from hermes_stream.memory.once import once_per_object
from hermes_stream.memory.plan import Positions
from hermes_stream.memory.positions import TimeMap, close_gaps, compact_rows, end_of, rank_rows
from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.stages import PLACE, stage
from hermes_stream.types import VisualTokens


def place(version: MemoryVersion, positions: Positions | tuple[torch.Tensor, ...], rope: Rope) -> MemoryVersion:
    """Give rows their new positions and remake the working copy of their keys from the truth.

    The slabs must be new, seen by no reader. The clock goes on behind the largest position.
    """
    with stage(PLACE):
        return _place(version, positions, rope)


def draw_together(version: MemoryVersion, tokens: VisualTokens, rope: Rope) -> tuple[MemoryVersion, VisualTokens]:
    """Room for encoded frames whose times lie further on than positions reach (families with absolute time).

    The longest gaps between held rows, the newest frame and these frames shrink to a common cap, as at a compaction.
    Returns the version and the frames, which may be committed to it or not; the slabs must be new.
    """
    with stage(PLACE):
        shape, n_prefix = version.shape, version.n_prefix
        time_N = version.place(tokens)[shape.time_axes[0]]
        time_U, index_N = time_N.unique(return_inverse=True)
        tables = [layer.table for layer in version.layers]
        time_map = TimeMap(tables, n_prefix, version.newest_time, shape.longest_span, time_U.tolist())
        move = once_per_object(lambda table, _: table.with_positions(time_map.place(table, n_prefix, shape.time_axes)))
        placed = [move(table, None) for table in tables]
        version = _with_tables(version, placed, extent_of(placed, n_prefix)[0], time_map.newest_time, rope)
        return version, tokens.at_times(torch.tensor(time_map.coming)[index_N] - version.time_start, shape.time_axes)


def _place(version: MemoryVersion, positions: Positions | tuple[torch.Tensor, ...], rope: Rope) -> MemoryVersion:
    return _with_tables(version, *_placed_tables(version, positions), rope)


def _with_tables(
    version: MemoryVersion, tables: Sequence[TokenTable], next_position: int, newest_time: int, rope: Rope
) -> MemoryVersion:
    layers = []
    for layer, table in zip(version.layers, tables, strict=True):
        if layer.slab.keeps_rotated and layer.slab.keeps_raw:
            layer.slab.rotate_keys(table.position_RHN, rope)
        elif layer.slab.keeps_rotated:
            cos, sin = rope.tables(table.position_RHN, version.shape.dtype)
            layer.slab.replace_keys(rotate(layer.raw_keys(rope), cos, sin))
        layers.append(replace(layer, table=table))
    return replace(
        version,
        layers=tuple(layers),
        next_position=next_position,
        settled_at=next_position,
        moved=version.moved + version.next_position - next_position,
        time_start=version.time_start + newest_time - version.newest_time,
        newest_time=newest_time,
    )


def _placed_tables(
    version: MemoryVersion, positions: Positions | tuple[torch.Tensor, ...]
) -> tuple[list[TokenTable], int, int]:
    """Tables with new positions, one past the largest of these, and where the newest frame's time comes to lie.

    In one dimension, ranks and contiguous rows end with the longest layer (ranks before it, if rows share a position),
    without a look at the device; anything else is read once.
    """
    tables, n_prefix, shape = [layer.table for layer in version.layers], version.n_prefix, version.shape
    if not isinstance(positions, Positions):
        given_tables = [_with_positions(t, given, n_prefix) for t, given in zip(tables, positions, strict=True)]
        return given_tables, extent_of(given_tables, n_prefix)[0], version.newest_time
    newest_time = n_prefix
    if positions is Positions.COMPACT and shape.n_axes > 1:
        time_map = TimeMap(tables, n_prefix, version.newest_time, shape.longest_span)
        move = once_per_object(lambda table, _: table.with_positions(time_map.place(table, n_prefix, shape.time_axes)))
        newest_time = time_map.newest_time
    elif positions is Positions.CONTIGUOUS and shape.n_axes > 1:
        move = once_per_object(lambda table, _: table.with_positions(close_gaps(table, n_prefix, shape.time_axes)))
    else:
        rows = rank_rows if positions is Positions.RANKS else compact_rows
        move = once_per_object(lambda table, _: table.with_positions(rows(table, n_prefix)))
    placed = [move(table, None) for table in tables]
    if shape.n_axes == 1:
        end = max(table.n_tokens for table in tables)
        return placed, end, max(newest_time, end - 1)
    end, newest_held_time = extent_of(placed, n_prefix)
    return placed, end, max(newest_time, newest_held_time)


def extent_of(tables: Sequence[TokenTable], n_prefix: int) -> tuple[int, int]:
    """One past the largest position of any layer, and the largest time after the prefix, its end if nothing is held."""
    distinct = list({id(table): table for table in tables}.values())
    ends = [end_of(table) for table in distinct]
    times = [table.position_RHN[0, :, n_prefix:].max() for table in distinct if table.n_tokens > n_prefix]
    nothing = ends[0].new_full((), n_prefix)
    end, newest_time = torch.stack((torch.stack(ends).max(), torch.stack([nothing, *times]).max())).tolist()
    return int(end), int(newest_time)


def _with_positions(table: TokenTable, position_RN: torch.Tensor, n_prefix: int) -> TokenTable:
    position_RHN = table.position_RHN.clone()
    position_RHN[..., n_prefix:] = position_RN[:, None]
    return table.with_positions(position_RHN)
