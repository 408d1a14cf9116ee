"""An allocator of rows as a list of booleans: taken or free, row by row."""

from __future__ import annotations


class BooleanRegions:
    """First fit, by looking at every row."""

    def __init__(self) -> None:
        self._is_taken: list[bool] = []

    @property
    def n_free(self) -> int:
        return self._is_taken.count(False)

    @property
    def free_at_end(self) -> int:
        n = 0
        while n < len(self._is_taken) and not self._is_taken[-1 - n]:
            n += 1
        return n

    def grow(self, n_rows: int) -> None:
        self._is_taken += [False] * n_rows

    def take(self, n_rows: int) -> int | None:
        for start in range(len(self._is_taken) - n_rows + 1):
            rows = slice(start, start + n_rows)
            if not any(self._is_taken[rows]):
                self._is_taken[rows] = [True] * n_rows
                return start
        return None

    def give_back(self, start: int, n_rows: int) -> None:
        rows = slice(start, start + n_rows)
        assert all(self._is_taken[rows])
        self._is_taken[rows] = [False] * n_rows
