"""Numbers of a benchmark from the definition: loops over videos, one resample after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Marks = Sequence[tuple[str, str, float]]
"""Video, task, value."""


def pooled(marks: Marks, tasks: Sequence[str]) -> float | None:
    values = [value for _, task, value in marks if task in tasks]
    return sum(values) / len(values) if values else None


def even(marks: Marks, groups: Sequence[Sequence[str]]) -> float | None:
    """The mean of the groups' means; none where a group has no marks."""
    means = [pooled(marks, group) for group in groups]
    return None if None in means else sum(mean for mean in means if mean is not None) / len(means)


def drawn(marks: Marks, times: Mapping[str, int]) -> Marks:
    """A resample: each video's marks as often as it was drawn."""
    return [mark for mark in marks for _ in range(times[mark[0]])]


def bounds(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    return float(np.percentile(known, 2.5)), float(np.percentile(known, 97.5))
