"""V-Rex's clusters and its mass rule: the specification's example, and random keys against the oracle."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies import key_clusters
from hermes_stream.policies.key_clusters import KeyClusters, clusters_by_mass, hyperplanes, side_of

from ..oracles.v_rex_oracle import cluster, taken_by_mass


def test_the_specifications_example() -> None:
    """s = 4 2 1, counts 3 10 8: the threshold is 12, which 12 does not exceed and 32 does."""
    taken_SRC = clusters_by_mass(torch.tensor([[[4.0, 2.0, 1.0]]]), torch.tensor([[3, 10, 8]]), 0.3)
    assert taken_SRC.tolist() == [[[True, True, False]]]
    assert int((taken_SRC[0, 0] * torch.tensor([3, 10, 8])).sum()) == 13


@settings(max_examples=100, deadline=None)
@given(data=st.data(), share=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_the_mass_rule_equals_the_oracle(data: st.DataObject, share: float) -> None:
    """Whole scores and quarters as shares, so that sums are exact and thresholds are often met exactly."""
    n = data.draw(st.integers(1, 8))
    scores = data.draw(st.lists(st.integers(1, 40), min_size=n, max_size=n, unique=True))
    counts = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    (taken_C,) = clusters_by_mass(torch.tensor([[scores]]).double(), torch.tensor([counts]), share)[0]
    assert set(taken_C.nonzero()[:, 0].tolist()) == taken_by_mass([float(s) for s in scores], counts, share)


def test_a_share_of_one_takes_every_cluster_whatever_is_rounded() -> None:
    generator = torch.Generator().manual_seed(0)
    score_SRC = torch.rand(4, 50, 300, generator=generator).mul(40).sub(40).exp()
    n_rows_SC = torch.randint(0, 9, (4, 300), generator=generator)
    assert bool(clusters_by_mass(score_SRC, n_rows_SC, 1.0).all())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    n_planes=st.integers(3, 12),
    block=st.integers(1, 4),
)
def test_clusters_equal_the_oracle(seed: int, sizes: list[int], n_planes: int, block: int) -> None:
    """Three sets side by side, rows in any intervals and blocks: as if each set had met its rows one by one."""
    generator = torch.Generator().manual_seed(seed)
    key_SND = torch.randn(3, sum(sizes), 4, generator=generator)
    code_SNB = side_of(key_SND, hyperplanes(n_planes, 4, seed))
    radius = max(n_planes // 3, 1)
    clusters = KeyClusters.empty(3, n_planes, 4, torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_clusters, "_BLOCK_ROWS", block)
        for codes, keys in zip(code_SNB.split(sizes, dim=1), key_SND.split(sizes, dim=1), strict=True):
            clusters = clusters.add(codes, keys, radius)
    for index in range(3):
        expected = cluster(code_SNB[index].tolist(), key_SND[index].tolist(), radius)
        assert int((clusters.n_rows_SC[index] > 0).sum()) == len(expected)
        for number, one in enumerate(expected):
            assert (clusters.member_SN[index] == number).nonzero()[:, 0].tolist() == one.numbers
            assert int(clusters.n_rows_SC[index, number]) == len(one.numbers)
            assert clusters.code_SCB[index, number].tolist() == one.code
            assert clusters.key_SCD[index, number].tolist() == pytest.approx(one.mean, abs=1e-5)  # float32


def test_adding_rows_leaves_the_old_clusters_as_they_were() -> None:
    generator = torch.Generator().manual_seed(0)
    key_SND = torch.randn(2, 6, 4, generator=generator)
    code_SNB = side_of(key_SND, hyperplanes(8, 4, 0))
    first = KeyClusters.empty(2, 8, 4, torch.device("cpu")).add(code_SNB, key_SND, 3)
    before = [x.clone() for x in (first.code_SCB, first.key_SCD, first.n_rows_SC, first.member_SN)]
    first.add(code_SNB, -key_SND, 3)
    for old, now in zip(before, (first.code_SCB, first.key_SCD, first.n_rows_SC, first.member_SN), strict=True):
        assert torch.equal(old, now)
