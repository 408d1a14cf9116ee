"""StreamKV's allocation over layers and its segments: the specification's example, and random inputs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hermes_stream.policies.layer_shares import cumulated_mass, layer_counts
from hermes_stream.policies.segments import CutRule, Segments

from ..oracles.stream_kv_oracle import count_at, counts_by_halving, masses, segments

UNBOUNDED = 1e9


def counts_of(layers: Sequence[Sequence[float]], total: int, spread: float) -> tuple[int, ...]:
    masses = [cumulated_mass(torch.tensor(scores, dtype=torch.float64)) for scores in layers]
    return layer_counts(masses, total, spread)


def test_the_specifications_example() -> None:
    """Masses .7 .2 .1 and .4 .3 .3: a total of 3 gives 1 and 2, as any p in (.4, .7]; p = .75 gives 2 and 3."""
    both = [0.7, 0.2, 0.1], [0.4, 0.3, 0.3]
    assert [[count_at(mass, p) for mass in both] for p in (0.41, 0.7, 0.75)] == [[1, 2], [1, 2], [2, 3]]
    cumulated = [torch.tensor(mass).cumsum(dim=0) for mass in both]
    assert layer_counts(cumulated, 3, UNBOUNDED) == (1, 2)
    assert layer_counts(cumulated, 5, UNBOUNDED) == (2, 3)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n_layers=st.integers(1, 5))
def test_counts_equal_those_of_a_search_by_halving(data: st.DataObject, n_layers: int) -> None:
    """Where no two masses are equal, so that the search can meet the total."""
    score = st.floats(-5, 5, width=32)
    layers = data.draw(st.lists(st.lists(score, min_size=1, max_size=7), min_size=n_layers, max_size=n_layers))
    mass_of_layers = [masses(scores) for scores in layers]
    steps = sorted(x for mass in mass_of_layers for x in itertools.accumulate(sorted(mass, reverse=True)))
    assume(all(b - a > 1e-9 or a > 1 - 1e-9 for a, b in itertools.pairwise(steps)))
    total = data.draw(st.integers(n_layers, sum(map(len, layers))))
    ours = counts_of(layers, total, UNBOUNDED)
    assert sum(ours) == total
    assert list(ours) == counts_by_halving(mass_of_layers, total)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), spread=st.sampled_from([0.0, 0.3, 0.5, 2.0]), n_layers=st.integers(1, 5))
def test_counts_stay_within_the_spread(data: st.DataObject, spread: float, n_layers: int) -> None:
    layers = [
        torch.tensor(scores)
        for scores in data.draw(
            st.lists(st.lists(st.floats(-5, 5), min_size=9, max_size=9), min_size=n_layers, max_size=n_layers)
        )
    ]
    total = data.draw(st.integers(n_layers, 9 * n_layers))
    counts, mean = layer_counts(layers, total, spread), total / n_layers
    assert sum(counts) == total
    assert all(mean * (1 - spread) - 1 < n < mean * (1 + spread) + 1 for n in counts)


def test_layers_take_no_more_than_they_have() -> None:
    scores = [1.0], [3.0, 2.0, 1.0, 0.0]
    assert counts_of(scores, 100, 0.5) == (1, 4)
    assert counts_of(scores, 4, UNBOUNDED) == (1, 3)
    assert counts_of(scores, 1, UNBOUNDED) == (1, 1)


def test_candidates_without_a_difference_weigh_alike() -> None:
    assert cumulated_mass(torch.full((4,), 7.0)).tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(0, 30), least=st.integers(1, 4), longer=st.integers(0, 5))
def test_segments_equal_the_oracle(seed: int, n: int, least: int, longer: int) -> None:
    feature_FE = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rule, ours = CutRule(0.5, least, least + longer), Segments()
    for frame, feature_E in enumerate(feature_FE):
        ours = ours.add(frame, feature_E, rule)
    assert list(ours.starts) == [run[0] for run in segments(feature_FE.tolist(), 0.5, least, least + longer)]
