"""Where the layers of a model change their way of attending: a measured alternative to 10/60/30.

Shape letters: S clips, L layers, C features of a layer.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError

Floats = NDArray[np.float64]


def measured_borders(feature_LC: Floats) -> tuple[int, int]:
    """First middle and first deep layer: the two change points that explain the features best.

    The rule: each feature is standardised over the layers (mean 0, standard deviation 1; one that does not vary counts
    nothing), and of all ways to cut the layers into three contiguous groups of at least one layer the one is taken
    whose squared distances of layers to their group's mean add up to least. All (L - 1)(L - 2) / 2 ways are tried; of
    equal ones the one with the earliest borders wins.
    Raises ConfigError for fewer than three layers.
    """
    n_layers = feature_LC.shape[0]
    if n_layers < 3:
        raise ConfigError(f"{n_layers} layers cannot be divided into three groups; a measured partition needs 3")
    standard_LC = _standardised(feature_LC)
    cuts = list(combinations(range(1, n_layers), 2))
    # Rounded, so that ways that are equal but for rounding are equal.
    return min(cuts, key=lambda cut: (round(_within(standard_LC, cut), 9), cut))


def agreement(feature_SLC: Floats) -> float:
    """Of the partitions that leave out one clip each, the share that is the partition of all; 0 to 1.

    Low: the borders are an accident of these clips. Needs at least two clips.
    """
    borders = measured_borders(feature_SLC.mean(axis=0))
    rest = [measured_borders(np.delete(feature_SLC, clip, axis=0).mean(axis=0)) for clip in range(len(feature_SLC))]
    return rest.count(borders) / len(rest)


def explained(feature_LC: Floats, borders: tuple[int, int]) -> float:
    """How much of the variance of the standardised features the three groups explain, 0 to 1; groups may be empty."""
    standard_LC = _standardised(feature_LC)
    total = float((standard_LC**2).sum())
    return 1 - _within(standard_LC, borders) / total if total else 0.0


def _standardised(feature_LC: Floats) -> Floats:
    centred_LC = feature_LC - feature_LC.mean(axis=0)
    spread_C = centred_LC.std(axis=0)
    varies_C = spread_C > 1e-9
    return np.where(varies_C, centred_LC / np.where(varies_C, spread_C, 1.0), 0.0)


def _within(standard_LC: Floats, borders: tuple[int, int]) -> float:
    groups = np.split(standard_LC, borders)
    return sum(float(((group - group.mean(axis=0)) ** 2).sum()) for group in groups if len(group))
