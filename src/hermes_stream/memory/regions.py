"""Which rows of a long tensor are taken: an allocator of contiguous regions that knows nothing of tensors."""

from __future__ import annotations

from bisect import bisect_left


class Regions:
    """Rows `[0, n_rows)`, handed out first fit and taken back; free neighbours become one."""

    def __init__(self) -> None:
        self.n_rows = 0
        # Sorted and disjoint, with something taken between any two.
        self._free: list[tuple[int, int]] = []

    @property
    def n_free(self) -> int:
        return sum(end - start for start, end in self._free)

    @property
    def free_at_end(self) -> int:
        """Free rows right before `n_rows`: what growth would extend."""
        return self._free[-1][1] - self._free[-1][0] if self._free and self._free[-1][1] == self.n_rows else 0

    def grow(self, n_rows: int) -> None:
        """Add so many rows at the end."""
        end = self.n_rows
        self.n_rows += n_rows
        self.give_back(end, n_rows)

    def take(self, n_rows: int) -> int | None:
        """The first row of the lowest free region that is large enough; None if there is none."""
        for index, (start, end) in enumerate(self._free):
            if end - start >= n_rows:
                self._free[index : index + 1] = [(start + n_rows, end)] if end - start > n_rows else []
                return start
        return None

    def give_back(self, start: int, n_rows: int) -> None:
        """Free what `take` gave."""
        if not n_rows:
            return
        end = start + n_rows
        index = bisect_left(self._free, (start, end))
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == start:
            index -= 1
            start = self._free.pop(index)[0]
        self._free.insert(index, (start, end))
