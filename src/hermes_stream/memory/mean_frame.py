"""A frame that is the mean of several, cell by cell.

Shape letters: K key/value heads, N rows, C cells, D head dimension.
"""

from __future__ import annotations

import torch

from hermes_stream.memory.token_table import TokenKind, TokenTable

# More than any grid has; makes one number of row and column.
_COLUMNS = 2**20


def n_cells(table: TokenTable) -> int:
    """Rows that the mean frame of these rows has."""
    return _cells(table)[1].shape[0]


def mean_frame(
    table: TokenTable, raw_key_KND: torch.Tensor, value_KND: torch.Tensor, identity: int
) -> tuple[TokenTable, torch.Tensor, torch.Tensor]:
    """Table, un-rotated keys and values `[K, C, D]` of the mean frame of some rows (in time order, one table head).

    Each cell is the mean of its rows and stands where the newest of them does; rows without a cell are left out. It
    counts 0, as all that it shows is counted elsewhere. identity: of its first row; the others follow.
    """
    of_row_N, newest_C, rows_N = _cells(table)
    n = newest_C.shape[0]
    newest = table.select(newest_C)
    made = TokenTable.build(
        kind=TokenKind.SUMMARY,
        identity_N=torch.arange(identity, identity + n, device=newest_C.device),
        position_RN=newest.position_RHN[:, 0],
        frame_N=newest.frame_HN[0],
        row_N=newest.row_HN[0],
        column_N=newest.column_HN[0],
        seconds_N=newest.seconds_HN[0],
        span_2N=_spans(table, rows_N, of_row_N, n),
        count_N=torch.zeros_like(newest_C),
    )
    key_KCD, value_KCD = (_means(x_KND, rows_N, of_row_N, n) for x_KND in (raw_key_KND, value_KND))
    return made, key_KCD, value_KCD


def _cells(table: TokenTable) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For rows with a cell: which cell, numbered in raster order; the newest row of each cell; which rows these are."""
    row_N, column_N = table.row_HN[0], table.column_HN[0]
    rows_N = (row_N >= 0).nonzero()[:, 0]
    cell_C, of_row_N = (row_N * _COLUMNS + column_N)[rows_N].unique(return_inverse=True)
    newest_C = torch.zeros_like(cell_C).scatter_reduce_(0, of_row_N, rows_N, "amax", include_self=False)
    return of_row_N, newest_C, rows_N


def _spans(table: TokenTable, rows_N: torch.Tensor, of_row_N: torch.Tensor, n: int) -> torch.Tensor:
    first_N, last_N = table.span_2HN[:, 0, rows_N]
    empty_C = first_N.new_zeros(n)
    first_C = empty_C.scatter_reduce(0, of_row_N, first_N, "amin", include_self=False)
    return torch.stack((first_C, empty_C.scatter_reduce(0, of_row_N, last_N, "amax", include_self=False)))


def _means(x_KND: torch.Tensor, rows_N: torch.Tensor, of_row_N: torch.Tensor, n: int) -> torch.Tensor:
    rows_N, of_row_N = rows_N.to(x_KND.device), of_row_N.to(x_KND.device)
    exact = torch.promote_types(x_KND.dtype, torch.float32)
    sum_KCD = x_KND.new_zeros(x_KND.shape[0], n, x_KND.shape[2], dtype=exact)
    sum_KCD.index_add_(1, of_row_N, x_KND[:, rows_N].to(exact))
    size_C1 = torch.bincount(of_row_N, minlength=n)[:, None]
    return (sum_KCD / size_C1).to(x_KND.dtype)
