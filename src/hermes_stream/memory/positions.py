"""Where tokens stand after an eviction, and where the next one will.

Shape letters: R position axes, H heads with rows of their own, N tokens, U distinct times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from hermes_stream.memory.token_table import TokenKind, TokenTable


def compact_rows(table: TokenTable, n_prefix: int) -> torch.Tensor:
    """Left compaction in one dimension: the prefix stays, what follows it becomes contiguous (HERMES, 3.9).

    Returns int64 `[1, H, N]`.
    """
    position_RHN = table.position_RHN.clone()
    position_RHN[..., n_prefix:] = torch.arange(n_prefix, table.n_tokens, device=position_RHN.device)
    return position_RHN


def rank_rows(table: TokenTable, n_prefix: int) -> torch.Tensor:
    """HERMES' release: on each axis by itself, the rank among the distinct values that are held; int64 `[R, H, N]`.

    In one dimension the same as `compact_rows`. In three the grid of a frame is lost once rows or columns have gaps.
    """
    position_RHN = table.position_RHN.clone()
    for axis_HN in position_RHN[..., n_prefix:].unbind():
        for row_N in axis_HN.unbind():
            row_N.copy_(n_prefix + _dense_rank(row_N))
    return position_RHN


def _dense_rank(value_N: torch.Tensor) -> torch.Tensor:
    """How many distinct values are smaller, int64 `[N]`; `unique` would ask the device how many there are."""
    sorted_N, order_N = value_N.sort()
    is_new_N = torch.ones_like(sorted_N)
    is_new_N[1:] = sorted_N[1:] != sorted_N[:-1]
    return torch.empty_like(value_N).scatter_(0, order_N, is_new_N.cumsum(0) - 1)


class TimeMap:
    """New times for old ones, the same in all layers, so that a frame stays a grid and one clock serves them all.

    The oldest held token moves to the prefix's end. Differences between neighbouring times are kept, up to that of the
    newest frame, held or not, and of frames that are to come (`coming`); only if the whole would be longer than
    `longest_span`, those above a common cap shrink to it: what is close in time keeps its scale.
    """

    def __init__(
        self,
        tables: Sequence[TokenTable],
        n_prefix: int,
        newest_time: int,
        longest_span: int,
        coming: Sequence[int] = (),
    ) -> None:
        times = [table.position_RHN[0, :, n_prefix:].flatten() for table in {id(t): t for t in tables}.values()]
        newest = torch.tensor([newest_time, *coming], device=tables[0].data_CHN.device)
        self._old_U = torch.cat([*times, newest]).unique(sorted=True)
        old = self._old_U.tolist()
        new = spread_times(old, n_prefix, longest_span)
        # A summary may stand later than the newest frame.
        self.newest_time = new[old.index(newest_time)]
        self.coming = [new[old.index(time)] for time in coming]
        self._new_U = torch.tensor(new, dtype=torch.int64, device=self._old_U.device)

    def place(self, table: TokenTable, n_prefix: int, time_axes: Sequence[int]) -> torch.Tensor:
        """int64 `[R, H, N]`: rows after the prefix move alike on all axes on which time shows, not on the others.

        A summary at its layer's end stands as text does, on one position of all axes, and so moves on all of them:
        left behind on one, it would hold the clock at its old place.
        """
        position_RHN = table.position_RHN.clone()
        time_HN = position_RHN[0, :, n_prefix:].contiguous()
        index_HN = torch.searchsorted(self._old_U, time_HN)
        move_HN = self._new_U[index_HN] - time_HN
        moved_RHN = position_RHN[..., n_prefix:]
        is_summary_HN = table.kind_HN[:, n_prefix:] == TokenKind.SUMMARY
        summary_move_HN = move_HN * (is_summary_HN & (moved_RHN == time_HN).all(dim=0))
        for axis in range(position_RHN.shape[0]):
            moved_RHN[axis] += move_HN if axis in time_axes else summary_move_HN
        return position_RHN


def close_gaps(table: TokenTable, n_prefix: int, time_axes: Sequence[int]) -> torch.Tensor:
    """What follows an evicted row comes to stand right behind what preceded it; int64 `[R, H, N]`.

    Rows that came one after the other move together, on all axes on which time shows: as if the rows that are held had
    been laid out afresh (StreamingVLM). Parts of a stream with commentary move each for itself, since others may come
    between them. In one dimension the same as `compact_rows`.
    """
    position_RHN = table.position_RHN.clone()
    time_AHN = position_RHN[list(time_axes), :, n_prefix:]
    # Runs are numbered per head; there are as many as rows at most, so that no size depends on values.
    is_start_HN = torch.zeros_like(time_AHN[0])
    is_start_HN[:, 1:] = (table.identity_HN[:, n_prefix:].diff() != 1) | (table.turn_HN[:, n_prefix:].diff() != 0)
    run_HN = is_start_HN.cumsum(dim=-1)
    low_HN = torch.zeros_like(run_HN).scatter_reduce_(1, run_HN, time_AHN.amin(dim=0), "amin", include_self=False)
    end_HN = torch.zeros_like(run_HN).scatter_reduce_(1, run_HN, time_AHN.amax(dim=0) + 1, "amax", include_self=False)
    length_HN = end_HN - low_HN
    start_HN = n_prefix + length_HN.cumsum(dim=-1) - length_HN
    position_RHN[list(time_axes), :, n_prefix:] += (start_HN - low_HN).gather(1, run_HN)
    return position_RHN


def end_of(table: TokenTable) -> torch.Tensor:
    """One past the largest position on any axis, int64 `[]` on the table's device; 0 for an empty table."""
    position_RHN = table.position_RHN
    return position_RHN.max() + 1 if table.n_tokens else position_RHN.new_zeros(())


def spread_times(times: Sequence[int], start: int, longest_span: int) -> list[int]:
    """New times for increasing ones, from `start` on; gaps above a common cap shrink to it if the span asks for it."""
    cap = _largest_cap([later - earlier for earlier, later in pairwise(times)], longest_span)
    new = [start]
    for earlier, later in pairwise(times):
        new.append(new[-1] + min(later - earlier, cap))
    return new


def _largest_cap(gaps: Sequence[int], longest_span: int) -> int:
    """The largest c of at least 1 for which the gaps, none counted above c, add up to no more than the span."""
    low, high = 1, max(gaps, default=1)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(gap, middle) for gap in gaps) <= longest_span:
            low = middle
        else:
            high = middle - 1
    return low
