"""The measured partition: least squares over all ways to cut the layers in three."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.inspection.partition import agreement, explained, measured_borders
from tests.oracles.inspection_oracle import best_borders


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n_layers=st.integers(3, 12), n_features=st.integers(1, 4))
def test_it_is_the_best_of_all_ways(seed: int, n_layers: int, n_features: int) -> None:
    feature_LC = np.random.default_rng(seed).normal(size=(n_layers, n_features)).round(1)
    borders = measured_borders(feature_LC)
    assert borders == best_borders(feature_LC.tolist())
    assert 0 < borders[0] < borders[1] < n_layers
    assert all(
        explained(feature_LC, borders) >= explained(feature_LC, (first, second)) - 1e-9
        for first in range(n_layers)
        for second in range(first, n_layers + 1)
    )


@pytest.mark.parametrize("borders", [(1, 2), (2, 7), (5, 9)])
def test_planted_groups_are_found_whatever_the_scale_of_a_feature(borders: tuple[int, int]) -> None:
    group_L = np.searchsorted(borders, np.arange(10), side="right")
    feature_LC = np.stack((1000.0 * group_L, 0.01 * (group_L == 1), np.full(10, 7.0)), axis=1)
    feature_LC += 1e-3 * np.random.default_rng(0).normal(size=(10, 3)) * (1000.0, 0.01, 0.0)
    assert measured_borders(feature_LC) == borders
    assert explained(feature_LC, borders) > 0.999


def test_layers_that_are_all_alike_are_cut_as_early_as_possible() -> None:
    assert measured_borders(np.ones((6, 3))) == (1, 2)
    assert explained(np.ones((6, 3)), (1, 2)) == 0


def test_two_layers_have_no_three_groups() -> None:
    with pytest.raises(ConfigError, match="2 layers cannot be divided into three groups"):
        measured_borders(np.ones((2, 3)))


def test_agreement_is_the_share_of_partitions_that_miss_one_clip_and_stay() -> None:
    """Two clips say (2, 7) faintly, one says (4, 7) loudly: without it the others win."""
    group_L = np.searchsorted((2, 7), np.arange(10), side="right").astype(float)
    other_L = np.searchsorted((4, 7), np.arange(10), side="right").astype(float)
    same = np.stack([group_L] * 3)[..., None]
    assert agreement(same) == 1
    mixed = np.stack([group_L, group_L, 9 * other_L])[..., None]
    assert measured_borders(mixed.mean(axis=0)) == (4, 7)
    assert agreement(mixed) == pytest.approx(2 / 3)
