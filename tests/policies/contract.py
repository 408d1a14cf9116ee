"""What every policy promises, as functions that take a policy and raise AssertionError."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.rope import rotate
from hermes_stream.policies.base import Policy
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Turn

from .harness import LOUD, FakeStream, Interval


def chunk_sizes(n_intervals: int) -> list[int]:
    """Frames of each interval: mostly a few, often one, now and then many."""
    return [(1, 2, 4, 1, 3, 7)[index * index % 6] for index in range(n_intervals)]


def _parts(plan: Plan) -> tuple[LayerPlan, ...]:
    """What becomes of each layer, and of the features."""
    return (*(plan.layers or ()), *(() if plan.features is None else (plan.features,)))


def assert_same_plans(ours: Plan, theirs: Plan) -> None:
    assert ours.positions == theirs.positions
    assert (ours.layers is None) == (theirs.layers is None)
    assert (ours.features is None) == (theirs.features is None)
    for a, b in zip(_parts(ours), _parts(theirs), strict=True):
        assert torch.equal(a.keep, b.keep)
        assert len(a.folds) == len(b.folds)
        for fold, other in zip(a.folds, b.folds, strict=True):
            assert torch.equal(fold.rows_N, other.rows_N)
            assert (fold.weight, fold.anchor) == (other.weight, other.anchor)
        assert len(a.prototypes) == len(b.prototypes)
        for prototype, twin in zip(a.prototypes, b.prototypes, strict=True):
            assert torch.equal(prototype.rows_N, twin.rows_N)
            assert torch.equal(prototype.weight_N, twin.weight_N)
        archived = [(plan.archive, plan.keep_archive, plan.archive_means) for plan in (a, b)]
        assert is_same(*archived)


def is_same(ours: Any, theirs: Any) -> bool:
    """Whether two states hold the same values, those of tensors included."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if is_dataclass(ours):
        return all(is_same(getattr(ours, part.name), getattr(theirs, part.name)) for part in fields(ours))
    return bool(ours == theirs)


def only_archives(interval: Interval) -> bool:
    """Whether the plan drops nothing and moves nothing, but may copy rows into an archive."""
    plan = interval.plan
    if plan.layers is None or plan.is_identity:
        return plan.is_identity
    untouched = zip(plan.layers, interval.n_rows, strict=True)
    return plan.positions is Positions.KEEP and all(
        layer.archive is not None and layer.keep.shape == (n,) and not layer.folds and not layer.prototypes
        for layer, n in untouched
    )


def assert_within_budget(stream: FakeStream) -> None:
    if stream.budget is None:
        return
    version, budgets_L = stream.memory.current, stream.policy.layer_budgets(stream.n_layers) or ()
    n_features = version.features.n_rows
    assert all(n + n_features <= budget for n, budget in zip(version.held_tokens, budgets_L, strict=True))


def assert_rows_sorted(plan: Plan) -> None:
    for layer in _parts(plan):
        for rows in (layer.keep, *(made.rows_N for made in (*layer.folds, *layer.prototypes))):
            assert rows.dtype == torch.int64
            assert bool((rows[..., 1:] > rows[..., :-1]).all())


def assert_keys_stand_where_the_table_says(stream: FakeStream) -> None:
    """Each working key is its un-rotated key, rotated once to the recorded position; summaries too."""
    for layer in stream.memory.current.layers:
        tables = stream.memory.rope.tables(layer.table.position_RHN, torch.float32)
        assert torch.equal(layer.keys, rotate(layer.slab.raw_keys(layer.n_held), *tables))


def run(
    policy: Policy, sizes: Sequence[int], *, seed: int = 0, max_positions: int = 2**31, n_layers: int = 4
) -> FakeStream:
    """Watch a stream; the laws hold after each of its intervals.

    What takes the longer the more was seen is looked at in every interval of short streams, now and then in long ones.
    """
    stream = FakeStream(policy, n_layers=n_layers, seed=seed, max_positions=max_positions)
    for index, n_frames in enumerate(sizes):
        if index == len(sizes) // 2:
            stream.history = (Turn("What is red?", "A) the circle"),)
        looks_closely = index < 50 or index % 25 == 0
        state_before, state_value = stream.state, copy.deepcopy(stream.state) if looks_closely else None
        interval = stream.advance(n_frames)
        assert_rows_sorted(interval.plan)
        assert_within_budget(stream)
        _assert_view_spec_is_possible(stream)
        if looks_closely:
            assert is_same(state_before, state_value), "a state was changed in place"
            stream.memory.check_invariants()
    assert_keys_stand_where_the_table_says(stream)
    return stream


def run_from(stream: FakeStream, sizes: Sequence[int]) -> list[Interval]:
    return [stream.advance(n_frames) for n_frames in sizes]


def assert_forgotten(stream: FakeStream, frames: range, *, is_new: bool) -> None:
    """Nothing of these loud frames is named in any table, is in any row, or in what the policy remembers.

    is_new: no row was made since, of which parts were shown before and after them.
    """
    version = stream.memory.current
    start, end = frames.start / stream.frames_per_second, frames.stop / stream.frames_per_second
    archived = [block for layer in version.layers for block in layer.archive.blocks]
    tables = [layer.table.slice(version.n_prefix) for layer in version.layers]
    for table in (*tables, *(block.table for block in archived), version.features.table):
        assert not bool(((table.frame_HN >= frames.start) & (table.frame_HN < frames.stop)).any())
        first_HN, last_HN = table.span_2HN
        assert not is_new or bool(((last_HN < start) | (first_HN >= end)).all())
    slabs = [part for layer in version.layers for part in layer.slab.parts(layer.n_held)]
    packed = [part.load() for block in archived for rows in (block.raw_keys, block.values) for part in rows.parts]
    # Rows that shared the ranges of loud ones were rounded by these.
    most = LOUD / 10 if getattr(stream.policy, "bits", 16) == 4 else LOUD / 100
    for numbers in (*slabs, *packed, version.features.embeddings_NE, *_numbers(stream.state)):
        assert not bool((numbers.double().abs() > most).any())


def _numbers(value: Any) -> list[torch.Tensor]:
    """All numbers in a state."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, float):
        return [torch.tensor(value)]
    parts = value if isinstance(value, tuple) else ()
    if is_dataclass(value):
        parts = tuple(getattr(value, part.name) for part in fields(value))
    return [number for part in parts for number in _numbers(part)]


def ask(stream: FakeStream, generator: torch.Generator) -> None:
    """A question, as far as it goes without a model: what it sees exists."""
    view = stream.view()
    spec = stream.policy.view_for(view, stream.state, torch.randn(2, 3, generator=generator))
    if not spec.recalls:
        return
    n_heads = stream.memory.shape.n_kv_heads
    query_HTD = torch.randn(2 * n_heads, 3, stream.memory.shape.head_dim, generator=generator)
    asked = [
        Asked(query_HTD, query_HTD, layer.archive, layer_view, spec.sees_held)
        for layer, layer_view in zip(stream.memory.current.layers, view.layers, strict=True)
    ]
    recalled = [stream.policy.recall(index, one, stream.state) for index, one in enumerate(asked)]
    for layer, found in zip(
        stream.memory.current.layers, stream.policy.settle(asked, recalled, stream.state), strict=True
    ):
        n_held = layer.n_held - stream.memory.current.n_prefix
        for rows_N, n in ((found.archive_rows, layer.archive.n_rows), (found.held_rows, n_held)):
            assert rows_N is None or not rows_N.numel() or (int(rows_N.min()) >= 0 and int(rows_N.max()) < n)
            assert rows_N is None or bool((rows_N[1:] > rows_N[:-1]).all())


def _assert_view_spec_is_possible(stream: FakeStream) -> None:
    view = stream.view()
    rows_N = stream.policy.view_for(view, stream.state, None).fresh_rows
    if rows_N is not None:
        assert rows_N.dtype == torch.int64
        assert bool((rows_N[1:] > rows_N[:-1]).all())
        assert bool(((rows_N >= 0) & (rows_N < view.features.n_rows)).all())
