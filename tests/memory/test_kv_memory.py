"""The memory under random histories: its laws hold, readers are never disturbed, bad plans change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import InvariantError, LimitError, PlanError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions, Prototype
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.types import VisualTokens

N_LAYERS, N_KV_HEADS, HEAD_DIM, PER_FRAME, N_PREFIX = 3, 2, 4, 3, 2


class TwoSpeedRope:
    """Positions turn the first pair by 1 and the second by 0.1 radian each."""

    def tables(self, position_RN: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        angle = position_RN[0][..., None].double() * torch.tensor([1.0, 0.1, 1.0, 0.1], dtype=torch.float64)
        return angle.cos().to(dtype), angle.sin().to(dtype)


def make_memory(**options: Any) -> KVMemory:
    shape = MemoryShape(
        N_LAYERS, N_KV_HEADS, HEAD_DIM, 1, options.pop("max_positions", 4096), torch.float64, torch.device("cpu")
    )
    memory = KVMemory(shape, TwoSpeedRope(), **options)
    write(memory, memory.begin_prefix(N_PREFIX), seed=99)
    return memory


def write(memory: KVMemory, pending: PendingAppend, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cos, sin = memory.rope.tables(pending.rows.table.position_RHN[:, 0], torch.float64)
    for layer in range(N_LAYERS):
        raw, value = torch.randn(
            2, N_KV_HEADS, pending.rows.table.n_tokens, HEAD_DIM, generator=generator, dtype=torch.float64
        )
        pending.write(layer, rotate(raw, cos, sin), value, raw)
    memory.commit(pending)


def frames(n: int, seconds: float = 0.0) -> VisualTokens:
    n_tokens = n * PER_FRAME
    index = torch.arange(n_tokens)
    return VisualTokens(
        torch.zeros(n_tokens, 8),
        index[None],
        n_tokens,
        index // PER_FRAME,
        torch.zeros_like(index),
        index % PER_FRAME,
        torch.full((n_tokens,), seconds, dtype=torch.float64),
        n,
        n,
    )


def watch(memory: KVMemory, n: int, seed: int = 0) -> None:
    memory.make_room(frames(n))
    write(memory, memory.begin_vision(frames(n), 0.0), seed)


def random_plan(memory: KVMemory, generator: torch.Generator, positions: Positions, *, per_head: bool) -> Plan:
    layers = []
    for n in memory.current.held_tokens:
        order = torch.randperm(n, generator=generator)
        n_keep = int(torch.randint(0, n + 1, (), generator=generator))
        n_fold = int(torch.randint(0, n - n_keep + 1, (), generator=generator))
        keep, fold = order[:n_keep].sort().values, order[n_keep : n_keep + n_fold].sort().values
        if per_head:
            other = torch.randperm(n, generator=generator)[:n_keep].sort().values
            layers.append(LayerPlan(torch.stack((keep, other))))
        else:
            folds = (Fold(fold, "count"),) if n_fold else ()
            layers.append(LayerPlan(keep, folds, random_prototypes(n, generator)))
    return Plan(tuple(layers), positions)


def random_prototypes(n_rows: int, generator: torch.Generator) -> tuple[Prototype, ...]:
    """Up to two, of any rows whatever becomes of them."""
    prototypes = []
    for _ in range(int(torch.randint(0, 3, (), generator=generator)) if n_rows else 0):
        n = int(torch.randint(1, n_rows + 1, (), generator=generator))
        rows = torch.randperm(n_rows, generator=generator)[:n].sort().values
        prototypes.append(Prototype(rows, torch.rand(n, generator=generator) + 0.1))
    return tuple(prototypes)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    steps=st.lists(st.sampled_from(["watch", "keep", "compact", "heads"]), min_size=1, max_size=12),
    store=st.sampled_from([{}, {"keep_raw": False}, {"memory_bits": 8}]),
)
def test_laws_hold_under_any_history(seed: int, steps: list[str], store: dict[str, Any]) -> None:
    """After each step: every law, and every rotated key is its un-rotated key at its recorded position."""
    generator = torch.Generator().manual_seed(seed)
    memory = make_memory(**store)
    per_head = "heads" in steps
    for index, step in enumerate(steps):
        if step == "watch":
            watch(memory, 1 + index % 3, seed + index)
        else:
            positions = Positions.COMPACT if step == "compact" else Positions.KEEP
            memory.apply(random_plan(memory, generator, positions, per_head=per_head))
        memory.check_invariants()
        version = memory.current
        assert version.n_prefix == N_PREFIX
        for layer in version.layers:
            assert layer.table.position_RHN[0, :, :N_PREFIX].tolist() == [[0, 1]] * layer.table.n_heads
            if layer.slab.keeps_raw:
                cos, sin = memory.rope.tables(layer.table.position_RHN, torch.float64)
                raw_KND = layer.slab.raw_keys(layer.n_held)
                torch.testing.assert_close(layer.keys, rotate(raw_KND, cos, sin), atol=1e-12, rtol=0)


def prototype_plan(rows: list[int], weights: list[float]) -> LayerPlan:
    """One row kept and one prototype."""
    made_of = Prototype(torch.tensor(rows, dtype=torch.int64), torch.tensor(weights))
    return LayerPlan(torch.tensor([0]), prototypes=(made_of,))


def test_rows_follow_their_keys_through_a_plan() -> None:
    memory = make_memory()
    watch(memory, 4)
    before = memory.current
    keep = torch.tensor([0, 4, 5, 11])
    after = memory.apply(Plan.same_rows(keep, N_LAYERS))
    for old, new in zip(before.layers, after.layers, strict=True):
        assert torch.equal(new.keys[:, N_PREFIX:], old.keys[:, keep + N_PREFIX])
        assert torch.equal(new.values[:, N_PREFIX:], old.values[:, keep + N_PREFIX])
        assert new.table.identity_HN[0, N_PREFIX:].tolist() == (keep + N_PREFIX).tolist()
        assert new.n_dropped_H.tolist() == [8]
    assert after.next_position == before.next_position
    compacted = memory.apply(Plan(positions=Positions.COMPACT))
    assert compacted.layers[0].table.position_RHN[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert compacted.next_position == 6


def test_heads_may_keep_different_rows() -> None:
    memory = make_memory()
    watch(memory, 2)
    before = memory.current
    rows = torch.tensor([[0, 2], [3, 5]])
    after = memory.apply(Plan(tuple(LayerPlan(rows) for _ in range(N_LAYERS))))
    for head in range(N_KV_HEADS):
        old, new = before.layers[1], after.layers[1]
        assert torch.equal(new.values[head, N_PREFIX:], old.values[head, rows[head] + N_PREFIX])
    watch(memory, 1)
    memory.check_invariants()
    assert memory.current.layers[1].table.frame_HN[:, N_PREFIX:].tolist() == [[0, 0, 2, 2, 2], [1, 1, 2, 2, 2]]


def test_readers_of_old_versions_are_never_disturbed() -> None:
    memory = make_memory(budgets_L=[9] * N_LAYERS)
    pinned = []
    for index in range(30):
        watch(memory, 1, seed=index)
        version = memory.current
        pinned.append((version, [layer.keys.clone() for layer in version.layers]))
        if version.held_tokens[0] > 9:
            newest = torch.arange(version.held_tokens[0])[-9:]
            memory.apply(Plan.same_rows(newest, N_LAYERS, Positions.COMPACT))
    for version, keys in pinned:
        assert all(torch.equal(layer.keys, key) for layer, key in zip(version.layers, keys, strict=True))


def test_a_dropped_append_leaves_nothing_and_the_next_one_succeeds() -> None:
    memory, twin = make_memory(), make_memory()
    for one in (memory, twin):
        watch(one, 2, seed=1)
    pending = memory.begin_vision(frames(1), 0.0)
    junk = torch.full((N_KV_HEADS, PER_FRAME, HEAD_DIM), 7.0, dtype=torch.float64)
    pending.write(0, junk, junk, junk)
    with pytest.raises(InvariantError, match="has not reached every layer"):
        memory.commit(pending)
    for one in (memory, twin):
        watch(one, 1, seed=2)
    for a, b in zip(memory.current.layers, twin.current.layers, strict=True):
        assert torch.equal(a.keys, b.keys)
        assert torch.equal(a.values, b.values)


def test_frames_before_the_prefix_are_refused() -> None:
    shape = MemoryShape(N_LAYERS, N_KV_HEADS, HEAD_DIM, 1, 64, torch.float64, torch.device("cpu"))
    with pytest.raises(InvariantError, match="before the prefix"):
        KVMemory(shape, TwoSpeedRope()).begin_vision(frames(1), 0.0)


def test_a_summary_at_the_models_limit_compacts_instead_of_passing_it() -> None:
    memory = make_memory(max_positions=N_PREFIX + 4 * PER_FRAME)
    watch(memory, 4)
    assert memory.room() == 0
    memory.apply(Plan((LayerPlan(torch.tensor([6, 11]), (Fold(torch.arange(6)),)),) * N_LAYERS))
    memory.check_invariants()
    assert memory.current.layers[0].table.position_RHN[0, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_plan_that_loses_rows_breaks_the_first_law() -> None:
    """What was dropped is counted from the plan, not from what is left."""
    memory = make_memory()
    watch(memory, 2)
    version = memory.apply(Plan.same_rows(torch.arange(4), N_LAYERS))
    lost = replace(version.layers[0], table=version.layers[0].table.slice(0, -1))
    memory.current = replace(version, layers=(lost, *version.layers[1:]))
    with pytest.raises(InvariantError, match="rows stand for"):
        memory.check_invariants()


def test_a_stale_append_is_refused() -> None:
    memory = make_memory()
    first, second = (memory.begin_vision(frames(1), 0.0) for _ in range(2))
    write(memory, first, 1)
    with pytest.raises(InvariantError, match="has changed since"):
        write(memory, second, 2)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([LayerPlan(torch.tensor([1, 0]))] * 3, "not sorted and unique"),
        ([LayerPlan(torch.tensor([1, 1]))] * 3, "not sorted and unique"),
        ([LayerPlan(torch.tensor([-1, 1]))] * 3, "reach from -1"),
        ([LayerPlan(torch.tensor([0, 9]))] * 3, "has rows 0 to 8"),
        ([LayerPlan(torch.tensor([0.0]))] * 3, "expected int64"),
        ([LayerPlan(torch.tensor([0]))] * 2, "2 layers, the memory 3"),
        ([LayerPlan(torch.tensor([0]), (Fold(torch.tensor([0, 1])),))] * 3, "both kept and folded"),
        ([LayerPlan(torch.tensor([0]), (Fold(torch.tensor([], dtype=torch.int64)),))] * 3, "fold of no rows"),
        ([LayerPlan(torch.arange(7))] * 3, "the budget is 6"),
        ([LayerPlan(torch.arange(6), (Fold(torch.tensor([7])),))] * 3, "leaves 7 tokens"),
        ([LayerPlan(torch.arange(6), (), (Prototype(torch.tensor([7]), torch.ones(1)),))] * 3, "leaves 7 tokens"),
        ([prototype_plan([], [])] * 3, "prototype of no rows"),
        ([prototype_plan([9], [1.0])] * 3, "has rows 0 to 8"),
        ([prototype_plan([1, 2], [1.0])] * 3, r"weights are torch.float32 \[1\], expected one .* of its 2 rows"),
        ([prototype_plan([1, 2], [1.0, -1.0])] * 3, "negative, not finite, or all 0"),
        ([prototype_plan([1, 2], [0.0, 0.0])] * 3, "negative, not finite, or all 0"),
        ([prototype_plan([1], [float("nan")])] * 3, "negative, not finite, or all 0"),
    ],
)
def test_a_bad_plan_is_refused_and_changes_nothing(layers: list[LayerPlan], message: str) -> None:
    memory = make_memory(budgets_L=[6] * N_LAYERS)
    watch(memory, 3)
    version = memory.current
    with pytest.raises(PlanError, match=message):
        memory.apply(Plan(tuple(layers)))
    assert memory.current is version


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(positions=(torch.arange(2, 11)[None],) * 2), "positions for 2 layers"),
        (Plan(positions=(torch.arange(2, 10)[None],) * 3), r"shape \(1, 8\), expected \(1, 9\)"),
        (Plan(positions=(torch.arange(1, 10)[None],) * 3), r"outside \[2, 40\)"),
        (Plan(positions=(torch.arange(32, 41)[None],) * 3), r"outside \[2, 40\)"),
        (Plan((LayerPlan(torch.zeros(3, 1, dtype=torch.int64)),) * 3), "rows for 3 heads of 2"),
    ],
)
def test_positions_and_heads_that_do_not_fit_are_refused(plan: Plan, message: str) -> None:
    memory = make_memory(max_positions=40)
    watch(memory, 3)
    version = memory.current
    with pytest.raises(PlanError, match=message):
        memory.apply(plan)
    assert memory.current is version


def test_rows_that_differ_between_heads_cannot_be_folded() -> None:
    memory = make_memory()
    watch(memory, 2)
    memory.apply(Plan((LayerPlan(torch.tensor([[0, 2], [3, 5]])),) * N_LAYERS))
    for plan in (LayerPlan(torch.tensor([0]), (Fold(torch.tensor([1])),)), prototype_plan([1], [1.0])):
        with pytest.raises(PlanError, match="cannot be folded or make prototypes"):
            memory.apply(Plan((plan,) * N_LAYERS))


def test_keeping_everything_above_the_budget_is_refused() -> None:
    memory = make_memory(budgets_L=[6] * N_LAYERS)
    watch(memory, 3)
    with pytest.raises(PlanError, match="the budget is 6"):
        memory.apply(Plan.keep_all())


def test_positions_end_at_the_models_limit() -> None:
    memory = make_memory(max_positions=20, budgets_L=[6] * N_LAYERS)
    for index in range(30):
        watch(memory, 1, index)
        memory.check_invariants()
        newest = torch.arange(memory.current.held_tokens[0])[-6:]
        memory.apply(Plan.same_rows(newest, N_LAYERS))
        assert memory.current.next_position <= 20
    with pytest.raises(LimitError, match="smaller budget"):
        memory.make_room(frames(1), reserve=10)
    with pytest.raises(LimitError, match="does not fit"):
        memory.begin_vision(frames(7), 0.0)


def test_bytes_are_those_of_the_rows() -> None:
    memory = make_memory()
    watch(memory, 2)
    n_rows = N_PREFIX + 2 * PER_FRAME
    assert memory.current.n_bytes == n_rows * memory.shape.bytes_per_token()
    assert memory.shape.bytes_per_token() == 3 * N_LAYERS * N_KV_HEADS * HEAD_DIM * 8
    assert make_memory(keep_raw=False).current.n_bytes == N_PREFIX * memory.shape.bytes_per_token(keep_raw=False)
    held = sum(t.numel() * 8 for layer in memory.current.layers for t in (layer.keys, layer.values, layer.keys))
    assert memory.current.n_bytes == held


def test_a_summary_of_summaries_counts_what_it_stands_for() -> None:
    memory = make_memory()
    watch(memory, 2)
    memory.apply(Plan((LayerPlan(torch.tensor([4, 5]), (Fold(torch.arange(4)),)),) * N_LAYERS))
    watch(memory, 1)
    memory.apply(Plan((LayerPlan(torch.tensor([3, 4, 5]), (Fold(torch.arange(3)),)),) * N_LAYERS))
    memory.check_invariants()
    assert memory.current.layers[0].table.count_HN[0].tolist() == [1, 1, 1, 1, 1, 6]
    assert memory.current.layers[0].n_dropped_H.tolist() == [0]
