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
    n_episodes = times_drawn_BE.shape[1]
    count_E = np.bincount(episode_N, minlength=n_episodes)
    sum_E = np.bincount(episode_N, weights=value_N, minlength=n_episodes)
    low = high = None
    if np.count_nonzero(count_E) > 1:
        count_B, sum_B = times_drawn_BE @ count_E, times_drawn_BE @ sum_E
        is_asked_B = count_B > 0
        bounds = np.percentile(sum_B[is_asked_B] / count_B[is_asked_B], _BOUNDS)
        low, high = (round(float(bound), _DIGITS) for bound in bounds)
    return Score(accuracy=round(float(value_N.mean()), _DIGITS), low=low, high=high, n=len(value_N))


def scores_by(groups: Sequence[_Key], value_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> dict[_Key, Score]:
    """`score` of the questions of each group, in the groups' order. groups: that of each question."""
    members: dict[_Key, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return {
        group: score(value_N[members[group]], episode_N[members[group]], times_drawn_BE)
        for group in sorted(members)  # type: ignore[type-var]
    }
