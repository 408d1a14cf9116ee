"""One question's attention as windows of whole frames, whatever stands between the frames.

Shape letters: L layers, H query heads, N held rows, F frames (grids) of the window, P tokens of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.question_attention import QuestionAttention
from hermes_stream.errors import ConfigError
from hermes_stream.inspection.indices import Floats
from hermes_stream.memory.token_table import TokenKind, TokenTable

# Fewer have no lag of one frame worth a correlation.
LEAST_FRAMES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """weight_LHFP: attention to the tokens of whole grids, oldest first, in raster order, separators left out.

    grid: rows and columns of a frame. share_LG: of the attention, mean over heads: prefix, frames, separators between
    frames, and the question itself.
    """

    weight_LHFP: Floats
    grid: tuple[int, int]
    share_LG: Floats


SHARES = ("prefix", "frames", "separators", "question")


def window_of(attention: QuestionAttention) -> Window:
    """For a memory that holds the same newest frames in every layer. Raises ConfigError if they are too few."""
    table = attention.tables[0]
    row_FP, grid = whole_grids(table)
    if len(row_FP) < LEAST_FRAMES:
        raise ConfigError(
            f"the window holds {len(row_FP)} frames of {grid[0] * grid[1]} tokens; give a budget of at least "
            f"{LEAST_FRAMES} frames"
        )
    weight_LHN = np.stack([weight_HN.double().cpu().numpy() for weight_HN in attention.by_layer])
    return Window(weight_LHN[..., row_FP], grid, _shares(weight_LHN.mean(axis=1), table))


def whole_grids(table: TokenTable) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """`[F, P]`: the table's row of each cell of each frame that is held whole, oldest frame first; and the grid."""
    kind_N, frame_N, row_N, column_N = (
        column_HN[0].cpu().numpy() for column_HN in (table.kind_HN, table.frame_HN, table.row_HN, table.column_HN)
    )
    (vision_N,) = np.nonzero(kind_N == TokenKind.VISION)
    if not vision_N.size:
        return np.empty((0, 0), dtype=np.int64), (0, 0)
    grid = int(row_N[vision_N].max()) + 1, int(column_N[vision_N].max()) + 1
    cell_N = row_N[vision_N] * grid[1] + column_N[vision_N]
    ordered_N = vision_N[np.lexsort((cell_N, frame_N[vision_N]))]
    frames, counts = np.unique(frame_N[ordered_N], return_counts=True)
    is_whole_N = np.isin(frame_N[ordered_N], frames[counts == grid[0] * grid[1]])
    return ordered_N[is_whole_N].reshape(-1, grid[0] * grid[1]), grid


def _shares(weight_LN: Floats, table: TokenTable) -> Floats:
    kind_N = table.kind_HN[0].cpu().numpy()
    kinds = TokenKind.PREFIX, TokenKind.VISION, TokenKind.TEXT
    shares = [weight_LN[:, kind_N == kind].sum(axis=1) for kind in kinds]
    return np.stack([*shares, 1 - sum(shares)], axis=1)
