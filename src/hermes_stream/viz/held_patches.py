"""Frames with the cells that one layer still holds: lit where a token is held, dimmed where it was evicted.

Shape letters: Y X C image height, width, channel; G grid rows, W grid columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError
from hermes_stream.memory.held_map import grid_of
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.types import Frame
from hermes_stream.viz.figure import new_figure

_DIMMED = 0.25
_COLUMNS = 6


def held_cells(version: MemoryVersion, layer_index: int, frame: int) -> NDArray[np.bool_]:
    """Bool `[G, W]`: which cells of a frame (by its number in the tables) a layer holds, in any head.

    The grid is that of `held_map.grid_of`. Raises ConfigError for a layer that does not exist.
    """
    if not 0 <= layer_index < len(version.layers):
        raise ConfigError(f"layer {layer_index} does not exist; the model has layers 0 to {len(version.layers) - 1}")
    cells_GW = np.zeros(grid_of(version), dtype=np.bool_)
    table = version.layers[layer_index].table
    is_mine_HN = (table.frame_HN == frame) & (table.kind_HN == TokenKind.VISION)
    cells_GW[table.row_HN[is_mine_HN].cpu().numpy(), table.column_HN[is_mine_HN].cpu().numpy()] = True
    return cells_GW


def dim_evicted(image_YXC: NDArray[np.uint8], cells_GW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture with the cells that are not held at a quarter of their brightness."""
    height, width = image_YXC.shape[:2]
    rows = np.arange(height) * cells_GW.shape[0] // height
    columns = np.arange(width) * cells_GW.shape[1] // width
    factor_YX1 = np.where(cells_GW[rows][:, columns], 1.0, _DIMMED)[..., None]
    return (image_YXC * factor_YX1).astype(np.uint8)


def draw_held_patches(version: MemoryVersion, frames: Mapping[int, Frame], layer_index: int, path: Path) -> None:
    """Write the given frames (by number) as PNG or SVG, each with the cells that the layer holds."""
    n_rows = max(-(-len(frames) // _COLUMNS), 1)
    figure, axes = new_figure(n_rows, _COLUMNS, size=(12, 0.4 + 1.5 * n_rows))
    for place in axes.flat:
        place.set_axis_off()
    for place, (number, frame) in zip(axes.flat, sorted(frames.items()), strict=False):
        cells_GW = held_cells(version, layer_index, number)
        place.imshow(dim_evicted(frame.image_YXC, cells_GW))
        place.set_title(f"{frame.pts_seconds:.0f} s · {int(cells_GW.sum())}/{cells_GW.size}", fontsize=8)
    figure.suptitle(f"What layer {layer_index} still holds after {version.time_seconds:.0f} s", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
