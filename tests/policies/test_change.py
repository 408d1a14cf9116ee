"""Otsu's threshold and the distance of a token to the cells around it, against their definitions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies.otsu import otsu_threshold
from hermes_stream.policies.similarity import window_distance

from ..oracles import feature_oracle


def test_the_specifications_example_of_otsu() -> None:
    """Three small values and a large one: the release's threshold is a bin's centre; either keeps the last only."""
    value_N = torch.tensor([0.05, 0.05, 0.05, 0.9])
    assert otsu_threshold(value_N, at="centre").item() == pytest.approx(0.0547, abs=5e-5)
    for at in ("centre", "upper"):
        assert (value_N >= otsu_threshold(value_N, at=at)).tolist() == [False, False, False, True]


def test_a_value_just_above_the_centre_is_low_by_the_upper_edge_only() -> None:
    value_N = torch.tensor([0.047, 0.062, 0.9])
    assert (value_N >= otsu_threshold(value_N, at="centre")).tolist() == [False, True, True]
    assert (value_N >= otsu_threshold(value_N)).tolist() == [False, False, True]


def test_constant_values_are_at_their_own_threshold() -> None:
    for constant in (0.0, 0.3, 2.0):
        assert otsu_threshold(torch.full((5,), constant)).item() == torch.tensor(constant).item()


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.integers(0, 128).map(lambda n: n / 64) | st.floats(0, 2, width=32), min_size=1, max_size=12),
    upper=st.booleans(),
)
def test_otsu_is_the_oracles(values: list[float], upper: bool) -> None:
    ours = otsu_threshold(torch.tensor(values), at="upper" if upper else "centre")
    assert ours.item() == pytest.approx(feature_oracle.otsu(values, upper=upper))


def test_each_row_has_a_threshold_of_its_own() -> None:
    value_FN = torch.rand(4, 9, generator=torch.Generator().manual_seed(0)) * 2
    assert otsu_threshold(value_FN).tolist() == [otsu_threshold(value_N).item() for value_N in value_FN]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 12), m=st.integers(0, 12))
def test_window_distance_is_the_oracles(seed: int, n: int, m: int) -> None:
    """Ragged frames: some tokens have no other near them."""
    generator = torch.Generator().manual_seed(seed)
    token_NE, other_ME = torch.randn(n, 4, generator=generator), torch.randn(m, 4, generator=generator)
    cell_N2, other_cell_M2 = (torch.randint(0, 5, (size, 2), generator=generator) for size in (n, m))
    others = [
        (vector, (row, column)) for vector, (row, column) in zip(other_ME.tolist(), other_cell_M2.tolist(), strict=True)
    ]
    expected = [
        feature_oracle.window_distance(vector, (row, column), others)
        for vector, (row, column) in zip(token_NE.tolist(), cell_N2.tolist(), strict=True)
    ]
    assert window_distance(token_NE, cell_N2, other_ME, other_cell_M2).tolist() == pytest.approx(expected, abs=1e-5)


def test_a_frame_is_at_distance_0_of_itself() -> None:
    token_NE = torch.randn(6, 32, generator=torch.Generator().manual_seed(1))
    cell_N2 = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    assert window_distance(token_NE, cell_N2, token_NE, cell_N2).tolist() == pytest.approx([0.0] * 6, abs=1e-6)
