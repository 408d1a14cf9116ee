"""CausalMem: its specification's example, the online basis and the whole rule against the oracle, and limit cases.

Shape letters: N tokens, E model width, C columns.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies.causal_mem import CausalMem
from hermes_stream.policies.subspace import Subspace, first_subspace, learn, residual

from ..oracles import causal_mem_oracle as oracle
from .feature_stream import COLUMNS, ROWS, FeatureStream, assert_holds, moving_pictures, watch_all

N_CELLS = ROWS * COLUMNS


def test_the_specifications_example() -> None:
    """One column along the first axis: what lies beside it is left over."""
    basis = Subspace(torch.tensor([[1.0], [0.0]]), torch.ones(1))
    token_NE = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    assert residual(basis, token_NE).norm(dim=1).tolist() == [0.0, 1.0, 3.0]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    width=st.integers(2, 10),
    n_columns=st.integers(1, 8),
    n_new=st.integers(1, 3),
    n_equal=st.integers(0, 3),
)
def test_the_basis_learns_as_the_oracles_does(seed: int, width: int, n_columns: int, n_new: int, n_equal: int) -> None:
    """The same projector and usages, also where tokens repeat and where the basis spans everything."""
    generator = torch.Generator().manual_seed(seed)
    n_columns = min(n_columns, width)
    frames = list(torch.randn(4, 5, width, generator=generator).unbind())
    for frame_NE in frames:
        frame_NE[:n_equal] = frame_NE[0].clone()
    ours = first_subspace(frames[0], n_columns)
    theirs = oracle.first_basis(frames[0].tolist(), n_columns)
    for frame_NE in frames[1:]:
        _assert_same_basis(ours, theirs)
        ours = learn(ours, frame_NE, n_new)
        theirs = oracle.learn(theirs, frame_NE.tolist(), n_columns, n_new)
    _assert_same_basis(ours, theirs)


def _assert_same_basis(ours: Subspace, theirs: oracle.Basis) -> None:
    projector_EE = sum((torch.tensor(column)[:, None] * torch.tensor(column) for column, _ in theirs), torch.zeros(()))
    torch.testing.assert_close(
        (ours.column_EC @ ours.column_EC.T).double(), projector_EE.double(), rtol=1e-3, atol=1e-3
    )
    is_used_C = ours.column_EC.any(dim=0)
    gram_CC = ours.column_EC.T @ ours.column_EC
    torch.testing.assert_close(gram_CC, torch.diag(is_used_C.float()), rtol=1e-4, atol=1e-4)
    usages = sorted(usage for _, usage in theirs)
    assert sorted(ours.usage_C[is_used_C].tolist()) == pytest.approx(usages, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    budget=st.integers(8, 40),
    n_words=st.sampled_from([0, 2]),
    order=st.sampled_from(["score-first", "released"]),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    n_columns=st.integers(1, 5),
)
def test_the_bank_holds_what_the_oracle_holds(
    seed: int, budget: int, n_words: int, order: str, share: float, n_columns: int
) -> None:
    policy = CausalMem(budget=budget, columns=n_columns, order=order, background=share)  # type: ignore[arg-type]
    stream = FeatureStream(policy, n_words)
    embeddings_NE = moving_pictures(14, 8, torch.Generator().manual_seed(seed))
    watch_all(stream, embeddings_NE, chunk=3)
    expected = oracle.bank_after(
        stream.seen,
        budget=budget,
        n_words=n_words,
        n_columns=n_columns,
        n_new=1,
        share=share,
        learns_first=order == "released",
    )
    assert_holds(stream, expected, ignoring_places=True)


def test_intervals_change_nothing() -> None:
    embeddings_NE = moving_pictures(24, 8, torch.Generator().manual_seed(3))
    streams = [FeatureStream(CausalMem(budget=20), n_words=1) for _ in range(3)]
    for stream, chunk in zip(streams, (1, 5, 24), strict=True):
        watch_all(stream, embeddings_NE, chunk)
    for stream in streams[1:]:
        assert [token.frame for token in stream.held] == [token.frame for token in streams[0].held]
        assert [token.count for token in stream.held] == [token.count for token in streams[0].held]


def test_a_budget_longer_than_the_stream_holds_every_token_as_it_came() -> None:
    embeddings_NE = moving_pictures(9, 8, torch.Generator().manual_seed(0))
    stream = FeatureStream(CausalMem(budget=9 * N_CELLS))
    watch_all(stream, embeddings_NE, chunk=2)
    assert torch.equal(stream.view.features.embeddings_NE, embeddings_NE)


def test_novel_tokens_leave_first_in_the_released_order_and_last_in_ours() -> None:
    """Two frames that look alike but for one token of the second; all but five tokens stay."""
    known_NE = torch.eye(8)[0] + 0.02 * torch.randn(N_CELLS, 8, generator=torch.Generator().manual_seed(0))
    known_NE[:, 5] = 0
    new_NE = known_NE.clone()
    new_NE[3] = torch.eye(8)[5]
    kept = {}
    for order in ("score-first", "released"):
        stream = FeatureStream(CausalMem(budget=N_CELLS + 1, columns=2, order=order, background=0.0))  # type: ignore[arg-type]
        stream.watch(known_NE)
        stream.watch(new_NE)
        kept[order] = any(token.vector == tuple(new_NE[3].tolist()) for token in stream.held)
    assert kept == {"score-first": True, "released": False}


def test_a_still_picture_adds_no_direction() -> None:
    """Frames that the basis explains fully teach it nothing, and no rounding error becomes a column."""
    frame_NE = torch.randn(N_CELLS, 32, generator=torch.Generator().manual_seed(0))
    basis = first_subspace(frame_NE, 8)
    for _ in range(20):
        basis = learn(basis, frame_NE, 1)
    assert int(basis.column_EC.any(dim=0).sum()) == N_CELLS
