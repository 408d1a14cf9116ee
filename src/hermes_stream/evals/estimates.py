"""Numbers that a benchmark prints, with intervals over resampled videos; differences of two memories likewise.

Shape letters: N marks, B resamples, E videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypedDict

import numpy as np

from hermes_stream.evals.resampling import Floats, Ints, draw_episodes, interval, resampled_means
from hermes_stream.evals.scores import Scores, members

_DIGITS = 2


class Cell(TypedDict):
    """A number as it is shown, in per cent unless its average says something else, and of how many marks it is made.

    low, high: its 95 % interval, None where fewer than two videos were asked about.
    """

    value: float
    low: float | None
    high: float | None
    n: int


class Estimator:
    """Estimates for one set of questions. The same draws of videos for all memories make their intervals comparable.

    Source of the intervals: see `resampling`; here the resampled unit is the video. A mean of means is taken anew in
    each resample.
    """

    def __init__(self, videos: Iterable[str]) -> None:
        self._index = {video: index for index, video in enumerate(dict.fromkeys(videos))}
        self._times_drawn_BE: Ints = draw_episodes(len(self._index))

    @property
    def n_videos(self) -> int:
        return len(self._index)

    def cells(self, scores: Scores, names: Iterable[str]) -> dict[str, Cell]:
        """Of tasks, groups and averages; those for which nothing counts are left out."""
        found = {name: self.cell(scores, name) for name in names}
        return {name: cell for name, cell in found.items() if cell is not None}

    def cell(self, scores: Scores, name: str) -> Cell | None:
        """One of them; None where nothing counts for it."""
        mean, average = scores.mean(name), scores.average(name)
        if mean is None:
            return None
        scale = 100.0 if average is None else average.scale
        low, high = interval(self._resampled(scores, name))
        return Cell(
            value=round(scale * mean, _DIGITS),
            low=None if low is None else round(scale * low, _DIGITS),
            high=None if high is None else round(scale * high, _DIGITS),
            n=len(members(scores.marks, scores.leaves(name))),
        )

    def _resampled(self, scores: Scores, name: str) -> Floats | None:
        average = scores.average(name)
        if average is None or average.rule == "pooled":
            marks = members(scores.marks, scores.leaves(name))
            value_N = np.array([mark.value for mark in marks], dtype=np.float64)
            video_N = np.array([self._index[mark.video] for mark in marks], dtype=np.int64)
            return resampled_means(value_N, video_N, self._times_drawn_BE)
        parts = [self._resampled(scores, part) for part in average.of]
        known = [part_B for part_B in parts if part_B is not None]
        # A part of one video has no spread of its own, and so the whole has none that is known.
        return np.mean(known, axis=0) if len(known) == len(parts) else None


def differences(scores: Scores, reference: Scores) -> Scores:
    """What one memory's marks are above another's of the same questions; those that only one of them counts are left
    out."""
    other = {mark.key: mark for mark in reference.marks if mark.is_counted}
    pairs = [(mark, other[mark.key]) for mark in scores.marks if mark.is_counted and mark.key in other]
    return replace(
        scores, marks=tuple(replace(mark, value=mark.value - below.value) for mark, below in pairs), extras={}
    )


def by_delay(scores: Scores) -> Scores:
    """The same marks, grouped by how long the evidence is gone; those of which nobody knows are left out."""
    known = [mark for mark in scores.marks if mark.delay_seconds is not None]
    binned = tuple(replace(mark, task=bin_name(delay_bin(mark.delay_seconds or 0.0)), groups=()) for mark in known)
    return replace(scores, marks=binned, averages=(), extras={})


def bin_name(at: tuple[float, float]) -> str:
    """ "0" for what is on screen or never was; else the octave of seconds, as in "4-8"; the first is "0-1"."""
    return "0" if at[1] == 0 else f"{at[0]:g}-{at[1]:g}"


def delay_bin(delay_seconds: float) -> tuple[float, float]:
    """`[0, 0]`: still on screen, or never was; else the octave `[2^k, 2^(k + 1))` of the delay, the first from 0."""
    if delay_seconds <= 0:
        return 0.0, 0.0
    low = 2.0 ** np.floor(np.log2(delay_seconds))
    return (0.0, 1.0) if low < 1 else (float(low), float(2 * low))


def task_names(scores: Scores) -> list[str]:
    """As they first come."""
    return list(dict.fromkeys(mark.task for mark in scores.marks))


def sorted_delays(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The shortest first."""
    return dict(sorted(cells.items(), key=lambda pair: (pair[0] != "0", float(pair[0].partition("-")[2] or 0))))
