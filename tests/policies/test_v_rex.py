"""V-Rex as a policy: what is recalled against the oracle, and its limit cases.

Shape letters: K key/value heads, H query heads, T tokens of a question, N rows, D head dimension.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.recall import Recalled
from hermes_stream.policies.key_clusters import hyperplanes, side_of
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.v_rex import VRex

from ..oracles.v_rex_oracle import cluster, taken_by_mass
from .harness import HEAD_DIM, HEADS, FakeStream


def watched(policy: VRex, sizes: list[int], seed: int = 0) -> FakeStream:
    stream = FakeStream(policy, n_layers=2, seed=seed)
    for n_frames in sizes:
        stream.advance(n_frames)
    return stream


def asked(stream: FakeStream, layer: int, query_HTD: torch.Tensor, rotated_HTD: torch.Tensor) -> Recalled:
    archive = stream.memory.current.layers[layer].archive
    return stream.policy.recall(
        layer, Asked(query_HTD, rotated_HTD, archive, stream.view().layers[layer]), stream.state
    )


def expected_rows(
    keys: list[list[float]], codes: list[list[bool]], queries: list[list[float]], policy: VRex
) -> set[int]:
    """Rows that any of one head's queries takes."""
    clusters = cluster(codes, keys, policy.radius)
    rows: set[int] = set()
    for query in queries:
        raw = [sum(q * k for q, k in zip(query, one.mean, strict=True)) / math.sqrt(len(query)) for one in clusters]
        score = [math.exp(one - max(raw)) for one in raw]
        for number in taken_by_mass(score, [len(one.keys) for one in clusters], policy.mass):
            rows |= set(clusters[number].numbers)
    return rows


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    keys=st.sampled_from(["rotated", "raw"]),
    mass=st.sampled_from([0.0, 0.3, 0.7]),
)
def test_what_is_recalled_equals_the_oracle(
    seed: int, sizes: list[int], keys: Literal["rotated", "raw"], mass: float
) -> None:
    policy = VRex(budget=6, planes=8, radius=3, mass=mass, keys=keys)
    stream = watched(policy, sizes, seed)
    n_archived = max(sum(sizes) - 2, 0) * 3
    generator = torch.Generator().manual_seed(seed)
    query_HTD, rotated_HTD = (torch.randn(2 * HEADS, 3, HEAD_DIM, generator=generator) for _ in range(2))
    plane_DB = hyperplanes(8, HEAD_DIM, seed)
    for layer, of_layer in enumerate(stream.memory.current.layers):
        recalled = asked(stream, layer, query_HTD, rotated_HTD)
        assert of_layer.archive.n_rows == n_archived
        assert recalled.held_rows is None, "the window is always seen"
        if n_archived == 0:
            assert recalled.archive_rows is None
            continue
        assert recalled.archive_rows is not None
        assert recalled.visible_KN is not None
        raw_KND, _ = of_layer.archive.read(None, torch.device("cpu"))
        if keys == "rotated":
            position_RN = of_layer.archive.table.position_RHN[:, 0]
            cos_ND, sin_ND = stream.memory.rope.tables(position_RN, torch.float32)
            raw_KND = torch.stack(
                (
                    raw_KND[..., 0] * cos_ND[:, 0] - raw_KND[..., 1] * sin_ND[:, 0],
                    raw_KND[..., 1] * cos_ND[:, 0] + raw_KND[..., 0] * sin_ND[:, 0],
                ),
                dim=-1,
            )
        asking_HTD = rotated_HTD if keys == "rotated" else query_HTD
        code_KNB = side_of(raw_KND, plane_DB)
        seen: set[int] = set()
        for head in range(HEADS):
            queries = asking_HTD[2 * head : 2 * head + 2].flatten(0, 1).tolist()
            rows = expected_rows(raw_KND[head].tolist(), code_KNB[head].tolist(), queries, policy)
            assert set(recalled.archive_rows[recalled.visible_KN[head]].tolist()) == rows
            seen |= rows
        assert recalled.archive_rows.tolist() == sorted(seen)


def test_a_mass_of_one_recalls_everything() -> None:
    stream = watched(VRex(budget=6, mass=1.0), [3, 1, 4, 2])
    query_HTD = torch.randn(HEADS, 5, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    recalled = asked(stream, 1, query_HTD, query_HTD)
    assert recalled.archive_rows is not None
    assert recalled.visible_KN is not None
    assert recalled.archive_rows.tolist() == list(range(24))
    assert bool(recalled.visible_KN.all())
