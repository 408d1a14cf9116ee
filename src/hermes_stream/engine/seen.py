"""What a stream had seen at any moment: counts and clocks after each grid, in bounded space.

Shape letters: M entries, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

# Entries; beyond them the older half says it for two grids at once, and so on.
MOST_ENTRIES = 1024


class Moment(NamedTuple):
    """After a grid: frames, grids and tokens so far, the clocks that text goes on from, and the stream's changes."""

    frames: int = 0
    grids: int = 0
    tokens: int = 0
    next_position: int = 0
    grid_end: int = 0
    changes: int = 0


# Of a log as long as it gets.
LOG_BYTES = MOST_ENTRIES * 8 * (2 + len(Moment._fields))


@dataclass(frozen=True, slots=True)
class Seen:
    """What had been seen at some time. newest_seconds: of the newest whole grid; None before the first.

    is_certain: whether it had seen nothing else. torn_tokens: of a grid whose first frame alone had been shown.
    """

    moment: Moment
    newest_seconds: float | None
    is_certain: bool
    torn_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class SeenLog:
    """One entry for each grid, or for a run of them where they are old.

    seconds_2M: float64, times of an entry's first and last frame. moment_CM: int64, what `Moment` says after it.
    """

    seconds_2M: torch.Tensor = field(default_factory=lambda: torch.zeros(2, 0, dtype=torch.float64))
    moment_CM: torch.Tensor = field(default_factory=lambda: torch.zeros(len(Moment._fields), 0, dtype=torch.int64))

    @property
    def n_entries(self) -> int:
        return self.seconds_2M.shape[1]

    @property
    def newest(self) -> Moment:
        return self._moment(self.n_entries - 1)

    def append(self, seconds: Sequence[tuple[float, float]], moments: Sequence[Moment]) -> SeenLog:
        """With newer grids. seconds: of each one's first and last frame. moments: after it."""
        if not moments:
            return self
        seconds_2M = torch.cat((self.seconds_2M, torch.tensor(seconds, dtype=torch.float64).T), dim=1)
        moment_CM = torch.cat((self.moment_CM, torch.tensor(moments, dtype=torch.int64).T), dim=1)
        return SeenLog(seconds_2M, moment_CM)._thinned()

    def at(self, seconds: float) -> Seen:
        """What had been seen at a time, its own frames included."""
        n = int((self.seconds_2M[1] <= seconds).sum())
        newest_seconds = float(self.seconds_2M[1, n - 1]) if n else None
        moment = self._moment(n - 1)
        if n == self.n_entries or float(self.seconds_2M[0, n]) > seconds:
            return Seen(moment, newest_seconds, is_certain=True, torn_tokens=0)
        following = self._moment(n)
        is_one_grid = following.grids == moment.grids + 1
        torn_tokens = following.tokens - moment.tokens if is_one_grid else 0
        return Seen(moment, newest_seconds, is_certain=False, torn_tokens=torn_tokens)

    def grids_within(self, start_seconds: float, end_seconds: float) -> range:
        """Numbers of all grids that may have a frame shown in `[start, end)`."""
        is_touched_M = (self.seconds_2M[0] < end_seconds) & (self.seconds_2M[1] >= start_seconds)
        touched = is_touched_M.nonzero()[:, 0].tolist()
        if not touched:
            return range(0)
        return range(self._moment(touched[0] - 1).grids, self._moment(touched[-1]).grids)

    def until(self, seconds: float) -> SeenLog:
        """The entries whose frames had all been shown at a time."""
        n = int((self.seconds_2M[1] <= seconds).sum())
        return SeenLog(self.seconds_2M[:, :n].clone(), self.moment_CM[:, :n].clone())

    def _moment(self, index: int) -> Moment:
        return Moment(*self.moment_CM[:, index].tolist()) if index >= 0 else Moment()

    def _thinned(self) -> SeenLog:
        if self.n_entries <= MOST_ENTRIES:
            return self
        n_old = MOST_ENTRIES // 2
        old_2M, new_2M = self.seconds_2M[:, :n_old], self.seconds_2M[:, n_old:]
        runs_2M = torch.stack((old_2M[0, ::2], old_2M[1, 1::2]))
        moment_CM = torch.cat((self.moment_CM[:, 1:n_old:2], self.moment_CM[:, n_old:]), dim=1)
        return SeenLog(torch.cat((runs_2M, new_2M), dim=1), moment_CM)._thinned()
