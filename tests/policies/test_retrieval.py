"""What retrieval policies compute with: the specification's examples, and random inputs against the oracle.

Shape letters: L layers, K key/value heads, H query heads, T tokens, N rows, G groups, D head dimension.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.policies.retrieval import (
    GroupIndex,
    Similarity,
    best_groups,
    consensus,
    group_scores,
    mean_keys,
    rows_of,
)

from ..oracles import retrieval_oracle as oracle

# ReKV's worked example: five frames of one token in one head, and a question.
EXAMPLE_GKD = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]], [[4.0, 4.0]], [[3.0, 0.0]], [[0.0, 1.0]]])
EXAMPLE_QUERY_HTD = torch.tensor([[[1.0, 0.0]]])


@pytest.mark.parametrize(
    ("similarity", "scores", "frames"),
    [("dot", [1.0, 0.0, 4.0, 3.0, 0.0], [2, 3]), ("cosine", [1.0, 0.0, 0.5**0.5, 1.0, 0.0], [0, 3])],
)
def test_rekvs_example(similarity: Similarity, scores: list[float], frames: list[int]) -> None:
    score_G = group_scores(EXAMPLE_QUERY_HTD, EXAMPLE_GKD, similarity)
    torch.testing.assert_close(score_G, torch.tensor(scores))
    assert best_groups(score_G, 2).tolist() == frames
    assert best_groups(score_G, 2, together=2).tolist() == [2, 3]
    assert best_groups(score_G, 2, newest=2).tolist() == [3, 4]
    assert best_groups(score_G, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 4), min_size=0, max_size=6),
    n_kv_heads=st.integers(1, 2),
    per_kv_head=st.integers(1, 3),
    n_tokens=st.integers(1, 3),
)
def test_scores_are_the_oracles(
    similarity: Similarity, seed: int, sizes: list[int], n_kv_heads: int, per_kv_head: int, n_tokens: int
) -> None:
    """In float64, with groups of unequal sizes, two layers and shared heads."""
    generator = torch.Generator().manual_seed(seed)
    size_G = torch.tensor(sizes, dtype=torch.int64)
    options = {"generator": generator, "dtype": torch.float64}
    keys = [torch.randn(n_kv_heads, sum(sizes), 2, **options) for _ in range(2)]  # type: ignore[call-overload]
    query_HTD = torch.randn(n_kv_heads * per_kv_head, n_tokens, 2, **options)  # type: ignore[call-overload]
    means_LGKD = mean_keys(keys, size_G)
    for key_KND, mean_GKD in zip(keys, means_LGKD, strict=True):
        expected = []
        for part_KND in key_KND.split(sizes, dim=1) if sizes else ():
            vector = oracle.representative(part_KND.tolist(), query_HTD.shape[0])
            expected.append(oracle.score(oracle.question(query_HTD.tolist()), vector, similarity))
        score_G = group_scores(query_HTD, mean_GKD, similarity)
        torch.testing.assert_close(score_G, torch.tensor(expected, dtype=torch.float64))


def test_half_precision_keys_are_averaged_and_compared_in_float32() -> None:
    """2048 + 1 is not a half-precision number; its mean with 2048 is what decides here."""
    mean_LGKD = mean_keys([torch.tensor([[[2048.0], [1.0], [0.0]]], dtype=torch.float16)], torch.tensor([3]))
    assert mean_LGKD.dtype == torch.float32
    assert mean_LGKD.item() == pytest.approx(683.0)
    query_HTD = torch.tensor([[[2048.0], [1.0]]], dtype=torch.float16)
    score_G = group_scores(query_HTD, mean_LGKD[0], "dot")
    assert score_G.item() == pytest.approx(683 * 1024.5, rel=1e-6)


@given(
    scores=st.lists(st.integers(-3, 3), max_size=12),
    n_runs=st.integers(0, 4),
    together=st.integers(1, 4),
    newest=st.integers(0, 4),
)
def test_choices_are_the_oracles(scores: list[int], n_runs: int, together: int, newest: int) -> None:
    """With ties, short last runs, and nothing to choose from."""
    n_chosen = newest + n_runs * together
    chosen = best_groups(torch.tensor(scores, dtype=torch.float32), n_chosen, together=together, newest=newest)
    assert chosen.tolist() == oracle.frames_recalled(scores, n_chosen, together, newest)


def test_cacheflows_example() -> None:
    assert consensus([3, 1, 2], [1, 4, 3], 2) == [1, 3]
    assert consensus([3, 1, 2], [1, 4, 3], 3) == [1, 3, 4]


@given(
    first=st.permutations(range(7)),
    last=st.permutations(range(7)),
    cut=st.integers(0, 7),
    n_blocks=st.integers(0, 7),
)
def test_agreement_is_the_oracles(first: list[int], last: list[int], cut: int, n_blocks: int) -> None:
    ours = consensus(first[:cut], last[:cut], n_blocks)
    assert ours == sorted(oracle.blocks_agreed(first[:cut], last[:cut], n_blocks))


@given(first=st.permutations(range(7)), last=st.permutations(range(7)), n_blocks=st.integers(0, 7))
def test_lists_as_long_as_the_choice_leave_the_last_layers(first: list[int], last: list[int], n_blocks: int) -> None:
    """Why the paper's rule is the last layer's choice: what both name is among the K that it names."""
    assert consensus(first[:n_blocks], last[:n_blocks], n_blocks) == sorted(last[:n_blocks])


@given(entries=st.lists(st.integers(1, 5), max_size=40))
def test_an_index_keeps_the_order_in_few_entries(entries: list[int]) -> None:
    index, number = GroupIndex(), 0
    for n_groups in entries:
        size_G = torch.arange(number, number + n_groups)
        index, number = index.extended(size_G, size_G.expand(2, -1)[..., None, None]), number + n_groups
    groups = [size for size_G in index.sizes for size in size_G.tolist()]
    assert groups == list(range(number))
    assert [mean for mean_LGKD in index.of_layer(1).means for mean in mean_LGKD.flatten().tolist()] == groups
    lengths = [size_G.numel() for size_G in index.sizes]
    assert all(older > newer for older, newer in pairwise(lengths))


@given(sizes=st.lists(st.integers(0, 3), max_size=6), data=st.data())
def test_groups_have_their_rows(sizes: list[int], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(sizes))), unique=True)) if sizes else []
    owner = [group for group, size in enumerate(sizes) for _ in range(size)]
    rows = rows_of(torch.tensor(sorted(chosen), dtype=torch.int64), torch.tensor(sizes, dtype=torch.int64))
    assert rows.tolist() == [row for row, group in enumerate(owner) if group in chosen]
