"""FluxMem's store: its specification's example, tiers against the oracle, and limit cases."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies.change import connected_patches, is_changed
from hermes_stream.policies.flux_mem import FluxMem

from ..oracles import flux_mem_oracle as oracle
from ..oracles.feature_oracle import Token
from .feature_stream import COLUMNS, ROWS, FeatureStream, assert_holds, moving_pictures, watch_all

N_CELLS = ROWS * COLUMNS


def test_the_specifications_example() -> None:
    distance_N = torch.tensor([0.05, 0.05, 0.05, 0.9])
    assert is_changed(distance_N, None).tolist() == [False, False, False, True]
    assert is_changed(distance_N, None, at="centre").tolist() == [False, False, False, True]


def test_what_comes_stays_as_what_goes_does_unless_the_next_frame_shows_it_too() -> None:
    to_next_N, to_previous_N = torch.tensor([0.5, 0.3, 0.1, 0.9]), torch.tensor([0.1, 0.9, 0.9, 0.1])
    assert is_changed(to_next_N, to_previous_N).tolist() == [False, True, False, True]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 16), spread=st.sampled_from([0.1, 0.5, 2.0]), upper=st.booleans())
def test_patches_are_the_oracles(seed: int, n: int, spread: float, upper: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    cell_N2 = torch.cartesian_prod(torch.arange(4), torch.arange(4))[
        torch.randperm(16, generator=generator)[:n].sort().values
    ]
    token_NE = torch.ones(n, 3) + spread * torch.randn(n, 3, generator=generator)
    tokens = [
        Token(index, 0, (row, column), 0.0, tuple(vector))
        for index, ((row, column), vector) in enumerate(zip(cell_N2.tolist(), token_NE.tolist(), strict=True))
    ]
    ours = connected_patches(token_NE, cell_N2, at="upper" if upper else "centre")
    theirs = oracle.patches(tokens, upper=upper)
    assert [patch_N.tolist() for patch_N in ours] == [[token.number for token in patch] for patch in theirs]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    budget=st.integers(16, 80),
    n_words=st.sampled_from([0, 2]),
    short=st.integers(1, 3),
    middle=st.integers(0, 6),
    chunk=st.integers(1, 7),
    upper=st.booleans(),
)
def test_the_store_holds_what_the_oracle_holds(
    seed: int, budget: int, n_words: int, short: int, middle: int, chunk: int, upper: bool
) -> None:
    policy = FluxMem(budget=budget, short=short, middle=middle, otsu="upper" if upper else "centre")
    stream = FeatureStream(policy, n_words)
    intervals = watch_all(stream, moving_pictures(16, 8, torch.Generator().manual_seed(seed)), chunk)
    expected = oracle.store_after(
        intervals,
        budget=budget,
        n_words=n_words,
        n_short=min(short, budget // (N_CELLS + n_words)),
        n_middle=middle,
        upper=upper,
    )
    assert_holds(stream, expected)


def test_a_still_picture_leaves_its_newest_frames_only() -> None:
    stream = FeatureStream(FluxMem(budget=4 * N_CELLS, short=2))
    watch_all(stream, torch.ones(20 * N_CELLS, 4), chunk=5)
    assert sorted({token.frame for token in stream.held}) == [18, 19]


def test_a_budget_longer_than_the_stream_holds_every_token_as_it_came() -> None:
    embeddings_NE = moving_pictures(9, 8, torch.Generator().manual_seed(0))
    stream = FeatureStream(FluxMem(budget=9 * N_CELLS))
    watch_all(stream, embeddings_NE, chunk=2)
    assert torch.equal(stream.view.features.embeddings_NE, embeddings_NE)


def test_tiers_are_the_sources_where_the_budget_holds_32_frames() -> None:
    stream = FeatureStream(FluxMem(budget=32 * N_CELLS))
    assert stream.policy._tiers(stream.view) == (8, 64)  # type: ignore[attr-defined]
