"""Accuracies with intervals that know that questions of one episode are not independent.

Shape letters: B resamples, E episodes, N questions.

Source: B. Efron, Bootstrap methods (1979), percentile interval; the resampled unit is the episode (cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_Key = TypeVar("_Key", bound=Hashable)

_N_RESAMPLES = 2000
_BOUNDS = 2.5, 97.5
_DIGITS = 4


class Score(TypedDict):
    """A share, or a difference of shares; its 95 % interval, None where fewer than two episodes asked; questions."""

    accuracy: float
    low: float | None
    high: float | None
    n: int


def draw_episodes(n_episodes: int, *, n_resamples: int = _N_RESAMPLES, seed: int = 0) -> Ints:
    """`[B, E]`: how often each resample, of as many episodes as there are, drew each episode."""
    even_E = np.full(n_episodes, 1 / n_episodes)
    return np.random.default_rng(seed).multinomial(n_episodes, even_E, size=n_resamples)


def score(value_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> Score:
    """The mean of all questions' values, with its interval over resampled episodes.

    value_N: 1 right, 0 wrong; or, for two memories that were asked the same, the difference of these. episode_N: index
    of each question's episode. One set of draws for all memories makes their intervals comparable. Resamples without
    any such question do not count.
    """
    low, high = interval(resampled_means(value_N, episode_N, times_drawn_BE))
    return Score(accuracy=round(float(value_N.mean()), _DIGITS), low=low, high=high, n=len(value_N))


def resampled_means(value_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> Floats | None:
    """`[B]`: the mean in each resample, NaN where it has no such question; None where fewer than two episodes asked."""
    n_episodes = times_drawn_BE.shape[1]
    count_E = np.bincount(episode_N, minlength=n_episodes)
    if np.count_nonzero(count_E) < 2:
        return None
    sum_E = np.bincount(episode_N, weights=value_N, minlength=n_episodes)
    count_B, sum_B = times_drawn_BE @ count_E, times_drawn_BE @ sum_E
    mean_B: Floats = np.divide(sum_B, count_B, out=np.full(len(sum_B), np.nan), where=count_B > 0)
    return mean_B


def interval(mean_B: Floats | None) -> tuple[float | None, float | None]:
    """The 95 % interval of what was resampled; resamples without a mean do not count."""
    if mean_B is None or np.isnan(mean_B).all():
        return None, None
    low, high = (round(float(bound), _DIGITS) for bound in np.nanpercentile(mean_B, _BOUNDS))
    return low, high


def scores_by(groups: Sequence[_Key], value_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> dict[_Key, Score]:
    """`score` of the questions of each group, in the groups' order. groups: that of each question."""
    members: dict[_Key, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return {
        group: score(value_N[members[group]], episode_N[members[group]], times_drawn_BE)
        for group in sorted(members)  # type: ignore[type-var]
    }
