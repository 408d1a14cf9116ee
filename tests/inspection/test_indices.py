"""Indices against plain Python on random windows, and what each says about planted curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.inspection import indices
from hermes_stream.inspection.indices import INDICES, Floats
from tests.oracles import inspection_oracle

N_FRAMES, N_CELLS = 30, 9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), n_frames=st.integers(4, 7), n_cells=st.integers(2, 7))
@pytest.mark.parametrize("name", INDICES)
def test_indices_equal_their_definitions(name: str, seed: int, n_frames: int, n_cells: int) -> None:
    """Layers and heads are leading axes; float64, so 1e-9."""
    weight_2FP = np.exp(np.random.default_rng(seed).normal(size=(2, n_frames, n_cells)))
    expected = [getattr(inspection_oracle, name)(window.tolist()) for window in weight_2FP]
    np.testing.assert_allclose(INDICES[name](weight_2FP), expected, atol=1e-9)


def noise(seed: int = 0) -> Floats:
    return np.exp(0.1 * np.random.default_rng(seed).normal(size=(N_FRAMES, N_CELLS)))


def recency(strength: float) -> Floats:
    """Weights that fall to e^-strength at the window's oldest end."""
    n = N_FRAMES * N_CELLS
    return np.exp(-strength * (n - 1 - np.arange(n)) / n).reshape(N_FRAMES, N_CELLS)


def anchors(cell_F: list[int] | np.ndarray) -> Floats:
    """One token a frame has 20 times the weight of the others."""
    weight_FP = np.ones((N_FRAMES, N_CELLS))
    weight_FP[np.arange(N_FRAMES), cell_F] = 20
    return weight_FP


def test_exponential_recency_is_recent_and_not_periodic() -> None:
    curve = recency(8)
    assert indices.log_slope(curve) == pytest.approx(-8)
    assert indices.newest_share(curve) == pytest.approx((1 - np.exp(-0.8)) / (1 - np.exp(-8)), abs=0.02)
    assert indices.autocorrelation(curve) > 0.8, "the plain autocorrelation takes a decay for a period"
    assert indices.periodicity(curve) == 0
    assert abs(indices.periodicity(curve * noise())) < 0.1
    assert indices.entropy(curve) < 0.85


def test_recency_of_another_shape_is_not_periodic_either() -> None:
    n = N_FRAMES * N_CELLS
    power_law = (1.0 / np.arange(n, 0, -1)).reshape(N_FRAMES, N_CELLS)
    assert indices.newest_share(power_law) > 0.5
    assert abs(indices.periodicity(power_law)) < 0.2
    assert abs(indices.periodicity(power_law * noise())) < 0.1


def test_uniform_weights_say_nothing() -> None:
    flat = np.full((N_FRAMES, N_CELLS), 0.003)
    assert indices.newest_share(flat) == pytest.approx(0.1)
    assert indices.entropy(flat) == pytest.approx(1)
    assert indices.raster_ratio(flat) == pytest.approx(1)
    assert indices.peak_ratio(flat) == pytest.approx(1)
    for index in (indices.log_slope, indices.autocorrelation, indices.periodicity, indices.periodicity_beyond_raster):
        assert index(flat) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("strength", [0, 8])
def test_anchors_at_a_fixed_place_are_periodic_and_the_control_explains_them(strength: float) -> None:
    curve = anchors([4] * N_FRAMES) * recency(strength) * noise()
    assert indices.periodicity(curve) > 0.9
    assert indices.periodicity_beyond_raster(curve) == pytest.approx(-1 / N_FRAMES, abs=0.15)
    assert indices.raster_ratio(curve) > 4
    assert indices.peak_ratio(curve) > 4
    assert (indices.frame_peaks(curve) == 4).all()


def test_anchors_that_stay_for_some_frames_are_periodic_and_the_control_does_not_explain_them() -> None:
    curve = anchors(np.arange(N_FRAMES) // 5 * 4 % N_CELLS) * noise()
    assert indices.periodicity(curve) > 0.6
    assert indices.periodicity_beyond_raster(curve) > 0.5
    assert indices.raster_ratio(curve) < 4


def test_anchors_at_a_new_place_in_each_frame_leave_no_period() -> None:
    """One anchor per frame is then seen by the peak ratio alone."""
    cell_F = np.random.default_rng(3).integers(0, N_CELLS, N_FRAMES)
    curve = anchors(cell_F) * noise()
    assert abs(indices.periodicity(curve)) < 0.2
    assert indices.periodicity_beyond_raster(curve) < 0.2
    assert indices.peak_ratio(curve) > 4
    assert (indices.frame_peaks(curve) == cell_F).all()


def test_weights_that_underflowed_do_not_end_in_infinity() -> None:
    curve = recency(300).astype(np.float32).astype(np.float64)
    assert (curve == 0).any()
    assert all(np.isfinite(index(curve)) for index in INDICES.values())
