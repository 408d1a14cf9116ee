"""The bootstrap over episodes, by its definition: put the drawn episodes' questions into one bag and count."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest order statistics."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval(values: Sequence[Sequence[float]], draws: Sequence[Sequence[int]]) -> tuple[float, float] | None:
    """95 % of the resampled means. values: of each question of each episode. draws: episodes of each resample."""
    if sum(1 for of_episode in values if of_episode) < 2:
        return None
    means = []
    for drawn in draws:
        bag = [value for episode in drawn for value in values[episode]]
        if bag:
            means.append(sum(bag) / len(bag))
    return percentile(means, 0.025), percentile(means, 0.975)
