"""What goes into the next forward, grid by grid, from the rule as it is said."""

from __future__ import annotations

from collections.abc import Sequence


def grids_that_go(grid_rows: Sequence[Sequence[int]], room: int) -> list[int]:
    """Grids in the order in which they wait; each goes if those before it left any room at all."""
    taken = [0] * len(grid_rows)
    rows_so_far = 0
    for stream, rows in enumerate(grid_rows):
        for n_rows in rows:
            if rows_so_far < room:
                taken[stream] += 1
                rows_so_far += n_rows
    return taken
