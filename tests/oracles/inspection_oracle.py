"""The indices of an inspection, token by token in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Window = Sequence[Sequence[float]]  # frames, oldest first, of tokens in raster order


def newest_share(window: Window) -> float:
    """Tokens are counted from the newest until a tenth of them is reached; the last of them in part."""
    newest_first = [weight for frame in reversed(window) for weight in reversed(frame)]
    left, mass = len(newest_first) / 10, 0.0
    for weight in newest_first:
        counted = min(1.0, left)
        mass += counted * weight
        left -= counted
        if left <= 0:
            break
    return mass / sum(newest_first)


def log_slope(window: Window) -> float:
    """Least squares: the covariance with age over the variance of age."""
    logs = _logs(window)
    n = len(logs)
    ages = [(n - 1 - index) / n for index in range(n)]
    age_mean, log_mean = sum(ages) / n, sum(logs) / n
    covariance = sum((age - age_mean) * (log - log_mean) for age, log in zip(ages, logs, strict=True))
    return covariance / sum((age - age_mean) ** 2 for age in ages)


def correlation_at(values: Sequence[float], lag: int) -> float:
    mean = sum(values) / len(values)
    centred = [value - mean for value in values]
    variance = sum(value**2 for value in centred) / len(centred)
    products = [centred[index] * centred[index + lag] for index in range(len(centred) - lag)]
    return sum(products) / len(products) / variance


def autocorrelation(window: Window) -> float:
    return correlation_at(_logs(window), len(window[0]))


def remainders(window: Window) -> list[float]:
    """Log attention less the mean of the P tokens around it; an even P counts two outer tokens half."""
    logs, n_cells = _logs(window), len(window[0])
    found = []
    for index in range(n_cells // 2, len(logs) - n_cells // 2):
        if n_cells % 2:
            around = logs[index - n_cells // 2 : index + n_cells // 2 + 1]
            mean = sum(around) / n_cells
        else:
            inner = logs[index - n_cells // 2 + 1 : index + n_cells // 2]
            ends = logs[index - n_cells // 2] + logs[index + n_cells // 2]
            mean = (sum(inner) + ends / 2) / n_cells
        found.append(logs[index] - mean)
    return found


def peak_at(values: Sequence[float], lag: int) -> float:
    around = [correlation_at(values, lag - lag // 2 + step) for step in range(lag)]
    return correlation_at(values, lag) - sum(around) / lag


def periodicity(window: Window) -> float:
    return peak_at(remainders(window), len(window[0]))


def periodicity_beyond_raster(window: Window) -> float:
    values, n_cells = remainders(window), len(window[0])
    means = [sum(values[cell::n_cells]) / len(values[cell::n_cells]) for cell in range(n_cells)]
    return peak_at([value - means[index % n_cells] for index, value in enumerate(values)], n_cells)


def raster_ratio(window: Window) -> float:
    means = [sum(frame[cell] for frame in window) / len(window) for cell in range(len(window[0]))]
    return max(means) / (sum(means) / len(means))


def peak_ratio(window: Window) -> float:
    return sum(max(frame) / (sum(frame) / len(frame)) for frame in window) / len(window)


def entropy(window: Window) -> float:
    total = sum(weight for frame in window for weight in frame)
    shares = [weight / total for frame in window for weight in frame]
    return -sum(share * math.log(share) for share in shares if share > 0) / math.log(len(shares))


def best_borders(features: Sequence[Sequence[float]]) -> tuple[int, int]:
    """All ways to cut into three groups; squared distances to group means of features scaled to variance 1."""
    n = len(features)
    scaled = [list(row) for row in features]
    for column in range(len(features[0])):
        values = [row[column] for row in features]
        mean = sum(values) / n
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / n)
        for row, value in zip(scaled, values, strict=True):
            row[column] = (value - mean) / deviation if deviation > 1e-9 else 0.0
    best: tuple[float, tuple[int, int]] | None = None
    for first in range(1, n - 1):
        for second in range(first + 1, n):
            cost = sum(_scatter(scaled[start:stop]) for start, stop in pairwise((0, first, second, n)))
            if best is None or cost < best[0] - 1e-9:
                best = (cost, (first, second))
    assert best is not None
    return best[1]


def _scatter(rows: Sequence[Sequence[float]]) -> float:
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return sum((value - mean) ** 2 for row in rows for value, mean in zip(row, means, strict=True))


def _logs(window: Window) -> list[float]:
    return [math.log(weight) for frame in window for weight in frame]
