"""Which frames a memory still holds, and how much of each.

Shape letters: L layers, F frames of which something is held, in time order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.version import MemoryVersion


@dataclass(frozen=True, slots=True, eq=False)
class HeldMap:
    """Frames of which some layer holds at least one token.

    frame_F: int64, as the memory numbers them. seconds_F: float64, their presentation times.
    share_LF: float64, the share of each frame's tokens that each layer holds; summaries apart.
    n_summarised_L: vision tokens that summaries stand for.
    """

    frame_F: NDArray[np.int64]
    seconds_F: NDArray[np.float64]
    share_LF: NDArray[np.float64]
    n_summarised_L: tuple[int, ...]


def held_map(version: MemoryVersion) -> HeldMap:
    """What each layer of a version holds; features that wait beside the layers and archived rows are not in it."""
    tables = [layer.table for layer in version.layers]
    rows = [_vision_rows(table) for table in tables]
    frame_F, first = np.unique(np.concatenate([frames for frames, _ in rows]), return_index=True)
    seconds_F = np.concatenate([seconds for _, seconds in rows])[first]
    share_LF = np.zeros((len(tables), len(frame_F)))
    for index, (table, (frames, _)) in enumerate(zip(tables, rows, strict=True)):
        share_LF[index] = np.bincount(np.searchsorted(frame_F, frames), minlength=len(frame_F)) / table.n_heads
    n_rows, n_columns = grid_of(version)
    return HeldMap(frame_F, seconds_F, share_LF / (n_rows * n_columns), tuple(summarised_tokens(version)))


def known_seconds(version: MemoryVersion) -> set[float]:
    """Times of all frames that a question may still see something of: held, archived, or waiting as features."""
    tables = [version.features.table, *(layer.table for layer in version.layers)]
    tables += [block.table for layer in version.layers for block in layer.archive.blocks]
    return {float(time) for table in tables for time in np.unique(_vision_rows(table)[1])}


def grid_of(version: MemoryVersion) -> tuple[int, int]:
    """Rows and columns of the largest grid of which a layer still holds a far corner; 1, 1 for an empty memory."""
    tables = [layer.table for layer in version.layers if layer.table.n_tokens]
    n_rows = max((int(table.row_HN.max()) for table in tables), default=0) + 1
    n_columns = max((int(table.column_HN.max()) for table in tables), default=0) + 1
    return max(n_rows, 1), max(n_columns, 1)


def summarised_tokens(version: MemoryVersion) -> list[int]:
    """Per layer, how many vision tokens its summary tokens stand for."""
    return [
        int(layer.table.count_HN[layer.table.kind_HN == TokenKind.SUMMARY].sum()) // layer.table.n_heads
        for layer in version.layers
    ]


def _vision_rows(table: TokenTable) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames and seconds of the vision rows, of all heads."""
    is_vision_HN = table.kind_HN == TokenKind.VISION
    return table.frame_HN[is_vision_HN].cpu().numpy(), table.seconds_HN[is_vision_HN].cpu().numpy()
