"""SAVEMem: its specification's example, tiers and reading against the oracle, and limit cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hermes_stream.policies.relevance import frame_scores, moved, n_read, reads_history
from hermes_stream.policies.savemem import SAVEMem, SAVEMemState, best_of_quadrants

from ..oracles import savemem_oracle as oracle
from ..oracles.feature_oracle import Token
from .feature_stream import COLUMNS, ROWS, FeatureStream, assert_holds, moving_pictures, watch_all

N_CELLS, WIDTH = ROWS * COLUMNS, 8
TEXTS = tuple(torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(9)).split(1))
WORDS = [[tuple(row) for row in text_TE.tolist()] for text_TE in TEXTS]


class WithTexts(FeatureStream):
    """Three texts of one token instead of five questions."""

    @property
    def view(self) -> Any:
        return replace(super().view, texts=TEXTS)


def test_the_specifications_example() -> None:
    assert moved(0.30, 0.20) == pytest.approx(0.28)
    assert reads_history(0.20, 0.30, gate=0.9)
    assert not reads_history(0.20, 0.30, gate=0.1)
    assert moved(None, 0.4) == 0.4


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=30),
    n_top=st.integers(1, 12),
    least=st.sampled_from([0.0, 0.5, 0.9]),
)
@example(scores=[0.2] * 9 + [0.9], n_top=3, least=0.0)
def test_as_many_frames_are_read_as_the_oracle_says(scores: list[float], n_top: int, least: float) -> None:
    assert n_read(torch.tensor(scores, dtype=torch.float64), n_top, least) == oracle.n_frames_read(scores, n_top, least)


def test_the_released_floor_leaves_little_to_choose() -> None:
    scores = torch.tensor([0.01] * 19 + [0.9])
    assert (n_read(scores, 10, 0.9), n_read(scores, 10, 0.0)) == (18, 10)
    assert n_read(torch.full((20,), 0.3), 10, 0.0) == 20


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(1, 40))
def test_quarters_keep_their_best(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cell_N2 = torch.cartesian_prod(torch.arange(5), torch.arange(8))
    cell_N2 = cell_N2[torch.randperm(40, generator=generator)[:n].sort().values]
    score_N = 2 * torch.rand(n, generator=generator) - 0.5
    tokens = [Token(index, 0, (row, column), 0.0, ()) for index, (row, column) in enumerate(cell_N2.tolist())]
    kept = oracle.quadrants(tokens, dict(enumerate(score_N.tolist())), 5, 8)
    ours_N = best_of_quadrants(score_N, cell_N2, torch.tensor([5, 8]))
    assert ours_N.nonzero()[:, 0].tolist() == [token.number for token in kept]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    budget=st.integers(16, 70),
    n_words=st.sampled_from([0, 2, 24]),
    short=st.integers(1, 3),
    middle=st.integers(0, 5),
    chunk=st.integers(1, 7),
)
def test_the_store_holds_what_the_oracle_holds(
    seed: int, budget: int, n_words: int, short: int, middle: int, chunk: int
) -> None:
    """With 24 words a frame of 30 rows has few tokens left where it has three: these are merged."""
    budget += 8 * n_words
    stream = WithTexts(SAVEMem(budget=budget, short=short, middle=middle), n_words)
    n_short = min(short, budget // (N_CELLS + n_words))
    store = oracle.Store(WORDS, budget=budget, n_words=n_words, n_short=n_short, n_middle=middle, grid=(ROWS, COLUMNS))
    intervals = watch_all(stream, moving_pictures(22, WIDTH, torch.Generator().manual_seed(seed)), chunk)
    for interval in intervals:
        store.watch(interval)
    assert_holds(stream, store.held)
    assert stream.state.usual == pytest.approx(store.usual, abs=1e-6)


def frames_read(stream: FeatureStream, asked_TE: torch.Tensor | None, state: SAVEMemState | None = None) -> list[int]:
    spec = stream.policy.view_for(stream.view, stream.state if state is None else state, asked_TE)
    assert not spec.sees_held
    assert spec.fresh_rows is not None
    return stream.view.features.frame_N[spec.fresh_rows].unique().tolist()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), least=st.sampled_from([0.0, 0.5]), top=st.integers(1, 4))
def test_a_question_reads_the_older_frames_that_resemble_it_most(seed: int, least: float, top: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    policy = SAVEMem(budget=60, short=2, middle=4, top=top, least=least)
    stream = WithTexts(policy, n_words=1)
    watch_all(stream, moving_pictures(20, WIDTH, generator), 3)
    asked_TE = torch.randn(4, WIDTH, generator=generator)
    words = [tuple(row) for row in asked_TE.tolist()]
    frames: dict[int, list[Token]] = {}
    for token in stream.held:
        frames.setdefault(token.frame, []).append(token)
    older = [frame for frame in frames if frame < 18]
    scores = {frame: oracle.resemblance(frames[frame], words) for frame in older}
    n = oracle.n_frames_read(list(scores.values()), top, least)
    best = sorted(older, key=lambda frame: -scores[frame])[:n]
    assert frames_read(stream, asked_TE) == sorted([*best, 18, 19])
    assert frames_read(stream, None) == list(frames)


def test_the_gate_decides_whether_older_frames_are_read() -> None:
    """The newest frames are the same in all cells, so that their resemblance to a word is its cosine with them."""
    stream = WithTexts(SAVEMem(budget=60, short=2, gate=0.9, least=1.0))
    pictures = moving_pictures(20, WIDTH, torch.Generator().manual_seed(3))
    pictures[-2 * N_CELLS :] = torch.eye(WIDTH)[0]
    watch_all(stream, pictures, 4)
    state = replace(stream.state, usual=0.30)
    asked_TE = torch.zeros(1, WIDTH)
    asked_TE[0, :2] = torch.tensor([0.20, (1 - 0.20**2) ** 0.5])
    assert frames_read(stream, asked_TE, state)[:1] != [18]
    now_TE = torch.eye(WIDTH)[:1]
    assert frames_read(stream, now_TE, state) == [18, 19]
    ungated = stream.policy.model_copy(update={"gate": None})
    spec = ungated.view_for(stream.view, state, now_TE)
    assert spec.fresh_rows is not None
    assert spec.fresh_rows.numel() == stream.view.features.n_rows


def test_frames_after_the_last_interval_are_the_newest() -> None:
    stream = WithTexts(SAVEMem(budget=60, short=2, gate=0.001))
    watch_all(stream, moving_pictures(12, WIDTH, torch.Generator().manual_seed(0)), 4)
    stream.memory.commit_features(replace(_one_frame(stream), n_frames=1), 6.0)
    asked_TE = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(4)).abs()
    read = frames_read(stream, asked_TE, replace(stream.state, usual=-1.0))
    assert read == [11, 12]


def _one_frame(stream: FeatureStream) -> Any:
    from .feature_stream import features

    return features(torch.ones(N_CELLS, WIDTH), len(stream.seen))


def test_frame_scores_are_means_over_tokens() -> None:
    token_NE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    scores = frame_scores(token_NE, [2, 1], torch.tensor([[2.0, 0.0], [-1.0, 0.0]]))
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.6]))


def test_a_budget_longer_than_the_stream_holds_every_token_as_it_came() -> None:
    embeddings_NE = moving_pictures(9, WIDTH, torch.Generator().manual_seed(0))
    stream = WithTexts(SAVEMem(budget=9 * N_CELLS))
    watch_all(stream, embeddings_NE, chunk=2)
    assert torch.equal(stream.view.features.embeddings_NE, embeddings_NE)


def test_tiers_are_the_sources_where_the_budget_holds_ten_frames() -> None:
    stream = WithTexts(SAVEMem(budget=10 * N_CELLS + 2))
    assert stream.policy._tiers(stream.view) == (4, 16)  # type: ignore[attr-defined]
