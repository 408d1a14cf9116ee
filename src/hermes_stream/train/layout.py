"""Where the rows of a stream and of a question stand: the engine's own rules, counted out in advance.

Shape letters: S rows, R position axes, G grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermes_stream.shapestream.script import Presence
from hermes_stream.train.episodes import Asked, Episode
from hermes_stream.train.evidence import shows
from hermes_stream.train.families import Family, Span, TokenIds

# Room that positions leave for a question and its answer.
_TAIL_POSITIONS = 160
_PREFIX = -1


@dataclass(frozen=True, eq=False)
class Rows:
    """Token ids of rows, and their positions `[R, S]`."""

    ids: list[int]
    position_RS: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stream(Rows):
    """The prefix and all grids of an episode.

    grid_S: the grid of each row, -1 for the prefix. gap_G: by how much each grid stands later than without gaps.
    start_G: where each grid, and one more, would begin without gaps. newest_seconds_G: when its last frame was shown.
    """

    grid_S: NDArray[np.int64]
    gap_G: NDArray[np.int64]
    start_G: NDArray[np.int64]
    newest_seconds_G: NDArray[np.float64]

    def shows(self, presence: Presence) -> NDArray[np.bool_]:
        """Which rows belong to grids that show a presence."""
        shown_S: NDArray[np.bool_] = (self.grid_S >= 0) & shows(presence, self.newest_seconds_G)[self.grid_S]
        return shown_S

    def grid_ends(self) -> NDArray[np.int64]:
        """The last row of each grid."""
        return np.searchsorted(self.grid_S, np.arange(len(self.gap_G)), side="right") - 1

    def end_after(self, grid: int) -> int:
        """The first position behind a grid and all before it, on any axis."""
        return int(self.position_RS[:, self.grid_S <= grid].max()) + 1


def lay_out_stream(family: Family, prefix: Sequence[int], episode: Episode, token_ids: TokenIds) -> Stream:
    """The prefix and all grids."""
    grids = range(episode.first_grid, episode.first_grid + episode.n_grids)
    times = [episode.clip.grid_times(grid) for grid in grids]
    spans = [_span(family, episode, shown, token_ids) for shown in times]
    start_G = len(prefix) + np.cumsum([0, *(span.n_positions for span in spans)])
    prefix_RS = np.tile(np.arange(len(prefix)), (family.n_axes, 1))
    parts = [span.position_RN + start for span, start in zip(spans, start_G[:-1], strict=True)]
    position_RS = np.concatenate((prefix_RS, *parts), axis=1)
    n_rows = [len(span.ids) for span in spans]
    grid_S = np.concatenate((np.full(len(prefix), _PREFIX), np.repeat(np.arange(len(spans)), n_rows)))
    room = family.position_limit - _TAIL_POSITIONS - int(position_RS.max())
    gap_G = np.floor(episode.gap_share_G * room).astype(np.int64)
    for axis in family.time_axes:
        position_RS[axis, len(prefix) :] += np.repeat(gap_G, n_rows)
    ids = [*prefix, *(token for span in spans for token in span.ids)]
    return Stream(ids, position_RS, grid_S, gap_G, start_G, np.array([shown[-1] for shown in times]))


def lay_out_tail(
    family: Family, episode: Episode, stream: Stream, asked: Asked, text: Sequence[int], token_ids: TokenIds
) -> Rows:
    """A question behind what it sees: the frame that still waits for a partner, if any, and its text."""
    next_position = stream.end_after(asked.after_grid)
    if asked.waiting_frame is None:
        return Rows(list(text), _count_from(next_position, len(text), family.n_axes))
    grid = asked.after_grid + 1
    shown = episode.clip.times_seconds[asked.waiting_frame]
    span = _span(family, episode, (shown,) * episode.clip.frames_per_grid, token_ids)
    position_RN = span.position_RN + stream.start_G[grid]
    position_RN[list(family.time_axes)] += stream.gap_G[grid]
    next_position = max(next_position, int(position_RN.max()) + 1)
    position_RS = np.concatenate((position_RN, _count_from(next_position, len(text), family.n_axes)), axis=1)
    return Rows([*span.ids, *text], position_RS)


def _count_from(start: int, n_rows: int, n_axes: int) -> NDArray[np.int64]:
    return np.tile(start + np.arange(n_rows), (n_axes, 1))


def _span(family: Family, episode: Episode, times: Sequence[float], token_ids: TokenIds) -> Span:
    return family.span([time - episode.since_seconds for time in times], episode.clip.shape, token_ids)
