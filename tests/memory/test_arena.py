"""Rows of many sessions in one arena: nothing overlaps, nothing leaks, and a slab there is a slab."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.arena import Arena, RowPool
from hermes_stream.memory.regions import Regions
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab
from tests.oracles.regions_oracle import BooleanRegions

CPU = torch.device("cpu")
SHAPE = MemoryShape(2, 2, 4, 1, 512, torch.float64, CPU)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "give", "grow"]), st.integers(1, 9)), max_size=30))
def test_regions_are_handed_out_as_by_a_list_of_booleans(steps: list[tuple[str, int]]) -> None:
    ours, theirs, taken = Regions(), BooleanRegions(), []
    for step, n in steps:
        if step == "grow":
            ours.grow(n)
            theirs.grow(n)
        elif step == "take":
            start = ours.take(n)
            assert start == theirs.take(n)
            taken += [] if start is None else [(start, n)]
        elif taken:
            region = taken.pop(n % len(taken))
            ours.give_back(*region)
            theirs.give_back(*region)
        assert ours.n_free == theirs.n_free
        assert ours.free_at_end == theirs.free_at_end


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=20))
def test_regions_of_a_pool_keep_what_was_written_and_go_back_when_dropped(steps: list[tuple[bool, int]]) -> None:
    pool = RowPool(1, 1, 1, torch.float64, CPU)
    held: list[tuple[Any, float]] = []
    for mark, (takes, n) in enumerate(steps):
        if takes or not held:
            held.append((pool.take(n), float(mark)))
            held[-1][0].tensors[0].fill_(float(mark))
        else:
            held.pop(n % len(held))
        assert all(bool(region.tensors[0].eq(value).all()) for region, value in held)
        assert pool.n_free == pool.n_rows - sum(region.n_rows for region, _ in held)
    held.clear()
    assert pool.n_free == pool.n_rows


def test_a_pool_that_grows_says_so_and_starts_with_zeros() -> None:
    arena = Arena(SHAPE)
    arena.reserve(128, keep_raw=False)
    first = arena.slab(0, 100, keep_raw=False)
    assert arena.longest_slab == 128
    generation = arena.generation
    del first
    first = arena.slab(0, 100, keep_raw=False)
    assert arena.generation == generation
    assert arena.rows(0)[0].eq(0).all()
    second = arena.slab(0, 100, keep_raw=False)
    assert arena.generation == generation + 1
    assert (first.start, second.start) == (0, 128)
    assert arena.allocated_bytes == 2 * (256 + 128) * 2 * 4 * 8
    assert arena.rows(0)[1].shape == (256, 2, 4)
    arena.reserve(1024, keep_raw=False)
    generation = arena.generation
    assert arena.slab(0, 300, keep_raw=False).capacity <= arena.longest_slab == 512
    assert arena.generation > generation


@settings(max_examples=30, deadline=None)
@given(data=st.data(), keep_raw=st.booleans())
def test_a_slab_in_an_arena_is_a_slab(data: st.DataObject, keep_raw: bool) -> None:
    """Appends, forks, selections and new keys on both; neighbours in the arena are not disturbed."""
    arena = Arena(SHAPE)
    neighbour = arena.slab(1, 8, keep_raw=keep_raw)
    neighbour.append(0, *(torch.full((2, 8, 4), 7.0, dtype=torch.float64) for _ in range(3)))
    ours: Any = arena.slab(1, 4, keep_raw=keep_raw)
    theirs = Slab.empty(2, 4, 4, dtype=torch.float64, device=CPU, keep_raw=keep_raw)
    pairs: list[tuple[Any, Slab, int]] = [(ours, theirs, 0)]
    for step in range(data.draw(st.integers(1, 6))):
        ours, theirs, n = pairs[data.draw(st.integers(0, len(pairs) - 1))]
        kind = data.draw(st.sampled_from(["append", "select", "per head"]))
        generator = torch.Generator().manual_seed(step)
        if kind == "append" or not n:
            n_new = data.draw(st.integers(1, 90))
            new = [torch.randn(2, n_new, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
            pairs.append((ours.append(n, *new), theirs.append(n, *new), n + n_new))
        else:
            n_keep = data.draw(st.integers(0, n))
            heads = [torch.randperm(n, generator=generator)[:n_keep].sort().values for _ in range(2)]
            rows = heads[0] if kind == "select" else torch.stack(heads)
            twins = ours.select(rows, ours.capacity), theirs.select(rows, theirs.capacity)
            keys = torch.randn(2, n_keep, 4, generator=generator, dtype=torch.float64)
            for twin in twins:
                twin.replace_keys(keys)
            pairs.append((*twins, n_keep))
        for in_arena, alone, length in pairs:
            assert torch.equal(in_arena.rows(length), alone.rows(length))
            assert in_arena.bytes_per_row == alone.bytes_per_row
    assert neighbour.rows(8).eq(7).all()


def test_a_failed_writers_rows_are_not_overwritten() -> None:
    """Rows that were claimed and not written belong to nobody: the next writer gets a copy."""
    slab = Arena(SHAPE).slab(0, 64, keep_raw=True)
    rows = [torch.ones(2, 3, 4, dtype=torch.float64)] * 3
    assert slab.append(0, *rows) is slab
    assert slab.claim(3, 5) is slab
    other = slab.append(3, *rows)
    assert other is not slab
    assert other.start != slab.start
    assert torch.equal(other.keys(3), slab.keys(3))


def test_rows_of_a_dead_slab_are_used_again() -> None:
    arena = Arena(SHAPE)
    slab = arena.slab(0, 64, keep_raw=False)
    start, kept, generation = slab.start, slab.rows(2), arena.generation
    del slab
    assert arena.slab(0, 64, keep_raw=False).start == start
    assert kept.eq(0).all()
    assert arena.generation == generation
