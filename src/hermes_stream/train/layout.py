"""Where the rows of a stream and of a question stand: the engine's own rules, counted out in advance.

Shape letters: S rows, R position axes, G grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """Rows of a stream or a tail: ids, positions `[R, S]`, the grid of each (-1 for text before all grids).

    starts: where the next span begins, after each grid without gaps; gap_G: by how much each grid stands later;
    newest_seconds_G: when its last frame was shown.
    """

    ids: list[int]
    position_RS: NDArray[np.int64]
    grid_S: NDArray[np.int64]
    starts: tuple[int, ...] = ()
    gap_G: NDArray[np.int64] | None = None
    newest_seconds_G: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def shows(self, presence: Presence) -> NDArray[np.bool_]:
        """Which rows belong to grids that show a presence."""
        shown_S: NDArray[np.bool_] = (self.grid_S >= 0) & shows(presence, self.newest_seconds_G)[self.grid_S]
        return shown_S

    def grid_ends(self) -> NDArray[np.int64]:
        """The last row of each grid."""
        n_grids = int(self.grid_S[-1]) + 1
        return np.searchsorted(self.grid_S, np.arange(n_grids), side="right") - 1


def lay_out_stream(family: Family, prefix: Sequence[int], episode: Episode, token_ids: TokenIds) -> Rows:
    """The prefix and all grids."""
    n_prefix = len(prefix)
    ids, grids, starts = list(prefix), [_PREFIX] * n_prefix, [n_prefix]
    parts = [np.tile(np.arange(n_prefix), (family.n_axes, 1))]
    for grid in range(episode.n_grids):
        span = _span(family, episode, episode.clip.grid_times(episode.first_grid + grid), token_ids)
        ids.extend(span.ids)
        grids.extend([grid] * len(span.ids))
        parts.append(span.position_RN + starts[-1])
        starts.append(starts[-1] + span.n_positions)
    position_RS, grid_S = np.concatenate(parts, axis=1), np.array(grids)
    room = family.position_limit - _TAIL_POSITIONS - int(position_RS.max())
    gap_G = np.floor(episode.gap_share_G * room).astype(np.int64)
    in_grids = grid_S >= 0
    for axis in family.time_axes:
        position_RS[axis, in_grids] += gap_G[grid_S[in_grids]]
    newest = [episode.clip.grid_times(episode.first_grid + grid)[-1] for grid in range(episode.n_grids)]
    return Rows(ids, position_RS, grid_S, tuple(starts), gap_G, np.array(newest))


def lay_out_tail(
    family: Family, episode: Episode, stream: Rows, asked: Asked, text: Sequence[int], token_ids: TokenIds
) -> Rows:
    """A question behind what it sees: the frame that still waits for a partner, if any, and its text."""
    ids: list[int] = []
    parts: list[NDArray[np.int64]] = []
    is_seen_S = stream.grid_S <= asked.after_grid
    next_position = int(stream.position_RS[:, is_seen_S].max()) + 1
    if asked.waiting_frame is not None and stream.gap_G is not None:
        shown = episode.clip.times_seconds[asked.waiting_frame]
        span = _span(family, episode, (shown,) * episode.clip.frames_per_grid, token_ids)
        gap = int(stream.gap_G[min(asked.after_grid + 1, episode.n_grids - 1)])
        position_RN = span.position_RN + stream.starts[asked.after_grid + 1]
        position_RN[list(family.time_axes)] += gap
        ids.extend(span.ids)
        parts.append(position_RN)
        next_position = max(next_position, int(position_RN.max()) + 1)
    parts.append(np.tile(next_position + np.arange(len(text)), (family.n_axes, 1)))
    ids.extend(text)
    return Rows(ids, np.concatenate(parts, axis=1), np.full(len(ids), _PREFIX))


def _span(family: Family, episode: Episode, times: Sequence[float], token_ids: TokenIds) -> Span:
    return family.span([time - episode.since_seconds for time in times], episode.clip.shape, token_ids)
