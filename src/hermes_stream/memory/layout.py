"""Positions of rows that a question sees together, whatever positions they had: the `view` of retrieval policies.

Shape letters: R position axes, N rows, B blocks (a frame's rows, or a summary).
"""

from __future__ import annotations

import torch

from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.token_table import TokenKind, TokenTable


def lay_out(table: TokenTable, start: int, shape: MemoryShape) -> torch.Tensor:
    """Positions `[R, N]` of rows (one table head) in time order from `start` on, without gaps.

    What is shown at one time stands in the order in which it was made: a mean frame behind the frame whose time it has.

    In one dimension one row follows the other. With three axes one frame follows the other: a frame keeps its grid, the
    next one begins behind its largest position on any axis.
    """
    identity_N = table.identity_HN[0]
    order_N = identity_N.argsort()
    order_N = order_N[table.seconds_HN[0, order_N].argsort(stable=True)]
    if shape.n_axes == 1:
        position_N = torch.empty_like(identity_N)
        position_N[order_N] = torch.arange(start, start + table.n_tokens, device=identity_N.device)
        return position_N[None]
    position_RN = torch.empty_like(table.position_RHN[:, 0])
    position_RN[:, order_N] = start + frame_after_frame(table.select(order_N), shape)
    return position_RN


def frame_after_frame(table: TokenTable, shape: MemoryShape) -> torch.Tensor:
    """For rows in time order and three axes: `[R, N]`, from 0 on."""
    frame_N = table.frame_HN[0]
    is_summary_N = table.kind_HN[0] == TokenKind.SUMMARY
    is_start_N = torch.ones_like(frame_N)
    # A summary belongs to no frame and stands alone.
    is_start_N[1:] = (frame_N[1:] != frame_N[:-1]) | (frame_N[1:] < 0) | (is_summary_N[1:] != is_summary_N[:-1])
    block_N = is_start_N.cumsum(0) - 1
    inside_RN = _inside_frame(table, block_N, shape)
    end_B = torch.zeros_like(block_N).scatter_reduce_(0, block_N, inside_RN.amax(dim=0) + 1, "amax", include_self=False)
    return inside_RN + (end_B.cumsum(0) - end_B)[block_N]


def _inside_frame(table: TokenTable, block_N: torch.Tensor, shape: MemoryShape) -> torch.Tensor:
    """Positions within each row's frame: `[R, N]`."""
    position_RN = table.position_RHN[:, 0]
    if shape.has_absolute_time:
        # Time counts from the stream's start, rows and columns from the span's: of a frame alone, the cells say it all.
        inside_RN = torch.zeros_like(position_RN)
        cell_axes = [axis for axis in range(shape.n_axes) if axis not in shape.time_axes]
        for axis, cell_N in zip(cell_axes, (table.row_HN[0], table.column_HN[0]), strict=True):
            inside_RN[axis] = cell_N.clamp(min=0)
        return inside_RN
    lowest_N = position_RN.amin(dim=0)
    start_B = torch.zeros_like(block_N).scatter_reduce_(0, block_N, lowest_N, "amin", include_self=False)
    return position_RN - start_B[block_N]
