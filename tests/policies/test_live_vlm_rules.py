"""LiveVLM's bucketing and page scores: the specification's example, and random inputs against the oracle."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies.live_vlm import bucket_of, page_scores, rows_over_time

from ..oracles.live_vlm_oracle import bucketing_keeps, page_attention


def test_the_specifications_example() -> None:
    score_N = torch.tensor([0.9, 0.8, 0.1, 0.2, 0.3, 0.05, 0.6, 0.7])
    bucket_N = bucket_of(torch.arange(1, 9), 8, 4)
    assert bucket_N.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert rows_over_time(score_N, bucket_N, n_keep=4, n_top=2, capacity=1).tolist() == [0, 1, 4, 7]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), capacity=st.integers(1, 3), n_buckets=st.integers(1, 6))
def test_bucketing_equals_the_oracle(data: st.DataObject, capacity: int, n_buckets: int) -> None:
    """Scores tie often; places have gaps, as after earlier evictions."""
    n_places = data.draw(st.integers(1, 40))
    places = sorted(data.draw(st.sets(st.integers(1, n_places), min_size=1)))
    scores = data.draw(st.lists(st.integers(0, 5).map(float), min_size=len(places), max_size=len(places)))
    n_keep = n_buckets * capacity
    n_top = data.draw(st.integers(0, n_keep))
    ours = rows_over_time(
        torch.tensor(scores), bucket_of(torch.tensor(places), n_places, n_buckets), n_keep, n_top, capacity
    )
    assert ours.tolist() == bucketing_keeps(scores, places, n_places, n_keep, n_top, capacity)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n_rows=st.integers(1, 12), page_rows=st.integers(1, 5), group=st.integers(1, 3))
def test_page_scores_equal_the_oracle(seed: int, n_rows: int, page_rows: int, group: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query_HTD = torch.randn(2 * group, 3, 4, generator=generator)
    key_KND = torch.randn(2, n_rows, 4, generator=generator)
    expected = page_attention(query_HTD.tolist(), key_KND.tolist(), page_rows)
    assert page_scores(query_HTD, key_KND, page_rows).tolist() == pytest.approx(expected, abs=1e-5)  # float32
