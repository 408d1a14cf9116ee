"""Prototypes: rows made of others, which they take nothing from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions, Prototype
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.token_table import TokenKind

from ..oracles.prototype_oracle import middle, weighted_mean
from .test_kv_memory import N_KV_HEADS, N_LAYERS, N_PREFIX, make_memory, watch


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    rows=st.sets(st.integers(0, 8), min_size=1, max_size=9),
    keep=st.sets(st.integers(0, 8), max_size=9),
    keep_raw=st.booleans(),
)
@example(seed=0, rows={3, 4, 5, 6, 7, 8}, keep=set(), keep_raw=False)
def test_a_prototype_is_the_weighted_mean_in_the_middle_of_its_rows(
    seed: int, rows: set[int], keep: set[int], keep_raw: bool
) -> None:
    memory = make_memory(keep_raw=keep_raw)
    watch(memory, 3, seed)
    before = memory.current
    weight_N = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01
    keep_N = torch.tensor(sorted(keep), dtype=torch.int64)
    plan = LayerPlan(keep_N, prototypes=(Prototype(torch.tensor(sorted(rows)), 7 * weight_N),))
    after = memory.apply(Plan((plan,) * N_LAYERS))
    memory.check_invariants()
    expected_position = middle([N_PREFIX + row for row in rows])
    for old, new in zip(before.layers, after.layers, strict=True):
        assert int(new.n_dropped_H) == 9 - len(keep)
        (place,) = (new.table.kind_HN[0] == TokenKind.SUMMARY).nonzero()[:, 0].tolist()
        assert new.table.count_HN[0, place] == 0
        assert new.table.frame_HN[0, place] == max(rows) // 3
        position_N = new.table.position_RHN[0, 0]
        assert position_N[place] == expected_position
        assert bool((position_N.diff() >= 0).all()), "rows are not in the order of their positions"
        others = [index for index in range(new.n_held) if index != place]
        assert (new.table.identity_HN[0, others][N_PREFIX:] - N_PREFIX).tolist() == sorted(keep)
        from_N = torch.tensor(sorted(rows)) + N_PREFIX
        for x_old, x_new in ((old.raw_keys(memory.rope), new.raw_keys(memory.rope)), (old.values, new.values)):
            for head in range(N_KV_HEADS):
                expected = weighted_mean(x_old[head, from_N].tolist(), weight_N.tolist())
                assert x_new[head, place].tolist() == pytest.approx(expected, abs=1e-12)
        cos, sin = memory.rope.tables(new.table.position_RHN, torch.float64)
        torch.testing.assert_close(new.keys, rotate(new.raw_keys(memory.rope), cos, sin), atol=1e-12, rtol=0)


def test_of_one_row_it_is_that_row() -> None:
    memory = make_memory()
    watch(memory, 2)
    one = Prototype(torch.tensor([4]), torch.tensor([0.3], dtype=torch.float64))
    version = memory.apply(Plan((LayerPlan(torch.tensor([3, 4]), prototypes=(one,)),) * N_LAYERS))
    for layer in version.layers:
        original, copy = N_PREFIX + 1, N_PREFIX + 2
        assert torch.equal(layer.keys[:, original], layer.keys[:, copy])
        assert torch.equal(layer.values[:, original], layer.values[:, copy])
        assert layer.table.seconds_HN[0, original] == layer.table.seconds_HN[0, copy]


@pytest.mark.parametrize("then", ["dropped", "folded", "compacted"])
def test_whatever_becomes_of_a_prototype_nothing_is_counted_twice(then: str) -> None:
    memory = make_memory()
    watch(memory, 2)
    made_of = Prototype(torch.tensor([0, 2]), torch.tensor([1.0, 3.0], dtype=torch.float64))
    memory.apply(Plan((LayerPlan(torch.tensor([0, 5]), prototypes=(made_of,)),) * N_LAYERS))
    watch(memory, 1)
    assert memory.current.held_tokens == (6,) * N_LAYERS
    keep = torch.tensor([0, 2, 3, 4, 5])
    plans = {
        "dropped": Plan.same_rows(keep, N_LAYERS),
        "folded": Plan((LayerPlan(keep, (Fold(torch.tensor([1]), "count", "mean"),)),) * N_LAYERS),
        "compacted": Plan(positions=Positions.COMPACT),
    }
    version = memory.apply(plans[then])
    memory.check_invariants()
    for layer in version.layers:
        assert int(layer.n_dropped_H) == 4
        assert int(layer.table.count_HN[0, N_PREFIX:].sum()) == 5
        assert bool(layer.keys.isfinite().all())
    if then == "compacted":
        assert version.layers[0].table.position_RHN[0, 0].tolist() == list(range(N_PREFIX + 6))
