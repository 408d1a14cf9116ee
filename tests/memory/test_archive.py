"""The archive tier: what is written comes back, bytes are counted, limits are kept."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError, LimitError, PlanError
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.layout import lay_out
from hermes_stream.memory.packed_rows import Bits, pack, packed_bytes
from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.positions import spread_times
from hermes_stream.memory.recall import Recalled, _drawn_together, see
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.token_table import TokenTable
from tests.oracles.archive_oracle import frames_behind_frames, quantised
from tests.policies.harness import HEAD_DIM, HEADS, QuarterTurnRope, append_frames, append_prefix

CPU = torch.device("cpu")


def memory_of(n_frames: int, archive: ArchiveSettings | None, *, seed: int = 0) -> KVMemory:
    shape = MemoryShape(2, HEADS, HEAD_DIM, 1, 2**31, torch.float32, CPU)
    memory = KVMemory(shape, QuarterTurnRope(), archive=archive)
    append_prefix(memory, 2)
    append_frames(memory, n_frames, 3, torch.Generator().manual_seed(seed))
    return memory


def plan_of(memory: KVMemory, archive: list[int], keep_archive: list[int] | None = None) -> Plan:
    """Everything stays held; these rows are archived besides."""
    keep_N = torch.arange(memory.current.held_tokens[0])
    kept = None if keep_archive is None else torch.tensor(keep_archive, dtype=torch.int64)
    return Plan((LayerPlan(keep_N, archive=torch.tensor(archive, dtype=torch.int64), keep_archive=kept),) * 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([8, 4]), st.sampled_from([0.0, 1e-3, 1.0, 300.0]))
def test_rows_come_back_as_the_definition_of_quantisation_says(n: int, seed: int, bits: Bits, spread: float) -> None:
    x_KND = 5 + spread * torch.randn(2, n, 4, generator=torch.Generator().manual_seed(seed))
    back_KND = pack(x_KND, bits).unpack(CPU)
    for head in range(2):
        expected = quantised(x_KND[head].numpy(), bits)
        ours, exact = back_KND[head].numpy(), x_KND[head].numpy()
        step = np.ptp(exact, axis=0) / (2**bits - 1)
        # A value halfway between two codes may go either way; the ranges are rounded to float16.
        assert (np.abs(ours - expected) <= 1.01 * step + 1e-4).all()
        assert (np.abs(ours - exact) <= 0.51 * step + 2**-10 * np.abs(exact).max()).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([8, 4]), st.sampled_from([0.0, 1e-3, 1.0, 300.0]))
def test_a_row_may_have_a_range_of_its_own_in_each_head(n: int, seed: int, bits: Bits, spread: float) -> None:
    """The same definition with rows and channels exchanged; no row depends on another."""
    x_KND = 5 + spread * torch.randn(2, n, 4, generator=torch.Generator().manual_seed(seed))
    packed = pack(x_KND, bits, ranges="row")
    for head in range(2):
        expected, exact = quantised(x_KND[head].T.numpy(), bits).T, x_KND[head].numpy()
        step = np.ptp(exact, axis=1, keepdims=True) / (2**bits - 1)
        assert (np.abs(packed.unpack(CPU)[head].numpy() - expected) <= 1.01 * step + 1e-4).all()
    rows_N = torch.arange(0, n, 2)
    assert torch.equal(packed.select(rows_N).unpack(CPU), packed.unpack(CPU)[:, rows_N])
    assert torch.equal(pack(x_KND[:, rows_N], bits, ranges="row").unpack(CPU), packed.unpack(CPU)[:, rows_N])


def test_sixteen_bits_are_exact_and_bytes_are_those_of_the_tensors() -> None:
    x_KND = torch.randn(2, 5, 4)
    assert torch.equal(pack(x_KND, 16).unpack(CPU), x_KND)
    for bits, ranges in itertools.product((16, 8, 4), ("channel", "row")):
        packed = pack(x_KND, bits, ranges=ranges)
        assert packed.n_bytes == packed_bytes(2, 5, 4, bits, torch.float32, ranges)
        assert packed.n_bytes == sum(part.load().numel() * part.load().element_size() for part in packed.parts)


def test_packing_does_not_share_what_the_memory_goes_on_writing() -> None:
    x_KND = torch.randn(2, 5, 4)
    packed = pack(x_KND, 16)
    before = packed.unpack(CPU).clone()
    x_KND.zero_()
    assert torch.equal(packed.unpack(CPU), before)


def test_archived_rows_read_back_bit_equal_in_any_selection() -> None:
    memory = memory_of(6, ArchiveSettings())
    before = memory.current.layers[1]
    raw_KND, values_KND = before.raw_keys(memory.rope)[:, 2:].clone(), before.values[:, 2:].clone()
    memory.apply(plan_of(memory, [0, 1, 4]))
    memory.apply(plan_of(memory, [7, 9]))
    memory.check_invariants()
    archive = memory.current.layers[1].archive
    held = torch.tensor([0, 1, 4, 7, 9])
    assert archive.table.identity_HN[0].tolist() == (held + 2).tolist()
    for rows in ([0], [1, 3], [0, 1, 2, 3, 4], [2, 4]):
        keys_KnD, values_KnD = archive.read(torch.tensor(rows), CPU)
        assert torch.equal(keys_KnD, raw_KND[:, held[rows]])
        assert torch.equal(values_KnD, values_KND[:, held[rows]])
    assert torch.equal(archive.read(None, CPU)[1], values_KND[:, held])


def test_an_archive_forgets_rows_and_shares_the_blocks_that_stay() -> None:
    memory = memory_of(6, ArchiveSettings(bits=8))
    memory.apply(plan_of(memory, [0, 1, 2]))
    memory.apply(plan_of(memory, [3, 4, 5]))
    before = memory.current.layers[0].archive
    memory.apply(plan_of(memory, [6], keep_archive=[1, 3, 4, 5]))
    after = memory.current.layers[0].archive
    assert after.table.identity_HN[0].tolist() == [3, 5, 6, 7, 8]
    assert after.blocks[1] is before.blocks[1]
    assert torch.equal(after.read(torch.tensor([0]), CPU)[0], before.read(torch.tensor([1]), CPU)[0])


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_rows_with_ranges_of_their_own_are_one_block_that_takes_what_its_rows_take(bits: Bits) -> None:
    memory = memory_of(6, ArchiveSettings(bits=bits, ranges="row", resident=True))
    memory.apply(plan_of(memory, [0, 1, 2]))
    memory.apply(plan_of(memory, [3, 4, 5]))
    before = memory.current.layers[0].archive
    memory.apply(plan_of(memory, [6], keep_archive=[1, 3, 4]))
    memory.apply(plan_of(memory, [7], keep_archive=[0, 2, 3]))
    archives = [layer.archive for layer in memory.current.layers]
    assert [len(archive.blocks) for archive in archives] == [1, 1]
    assert archives[0].table.identity_HN[0].tolist() == [3, 6, 8, 9]
    assert archives[0].table is archives[1].table
    assert memory.current.archive_bytes() == 2 * 2 * packed_bytes(HEADS, 4, HEAD_DIM, bits, torch.float32, "row")
    for now, then in zip(archives[0].read(None, CPU), before.read(torch.tensor([1, 4]), CPU), strict=True):
        assert torch.equal(now[:, :2], then)
    memory.apply(plan_of(memory, [], keep_archive=[]))
    assert memory.current.archived_tokens == (0, 0)
    memory.check_invariants()


def test_rows_of_a_frame_have_ranges_of_their_own_if_wanted() -> None:
    together, apart = (memory_of(4, ArchiveSettings(bits=4, per_frame=per_frame)) for per_frame in (False, True))
    for memory in (together, apart):
        memory.apply(plan_of(memory, list(range(12))))
    assert len(together.current.layers[0].archive.blocks) == 1
    assert [block.n_rows for block in apart.current.layers[0].archive.blocks] == [3] * 4
    exact_KND = apart.current.layers[0].values[:, 2:]
    errors = [
        (memory.current.layers[0].archive.read(None, CPU)[1] - exact_KND).abs().mean() for memory in (together, apart)
    ]
    assert errors[1] < errors[0]


def test_a_full_archive_says_so_and_loses_nothing() -> None:
    one_row = 2 * packed_bytes(HEADS, 1, HEAD_DIM, 16, torch.float32)
    memory = memory_of(6, ArchiveSettings(host_bytes=2 * 3 * one_row))
    memory.apply(plan_of(memory, [0, 1, 2]))
    before = memory.current
    with pytest.raises(LimitError, match=r"the archive needs 256 bytes of host memory, its limit is 192"):
        memory.apply(plan_of(memory, [3]))
    assert memory.current is before


def test_what_passes_the_limit_goes_to_the_disk_and_comes_back_equal(tmp_path: Path) -> None:
    one_row = 2 * packed_bytes(HEADS, 1, HEAD_DIM, 8, torch.float32)
    host = memory_of(6, ArchiveSettings(bits=8))
    disk = memory_of(6, ArchiveSettings(bits=8, host_bytes=3 * one_row, disk=tmp_path, disk_bytes=400))
    for memory in (host, disk):
        for rows in ([0, 1], [2, 3], [4, 5], [6]):
            memory.apply(plan_of(memory, rows))
    assert disk.current.archive_bytes() <= 3 * one_row
    assert disk.current.archive_bytes() + disk.current.archive_bytes(disk=True) == host.current.archive_bytes()
    twin = disk.fork()
    twin.apply(plan_of(twin, [7]))
    for layer in range(2):
        expected = host.current.layers[layer].archive.read(None, CPU)
        for ours, theirs in zip(disk.current.layers[layer].archive.read(None, CPU), expected, strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(LimitError, match=r"bytes in .*, its limit is 400"):
        disk.apply(plan_of(disk, list(range(8, 18))))


def test_rows_cannot_be_archived_twice_nor_without_an_archive(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="this memory has no archive"):
        memory_of(2, None).apply(plan_of(memory_of(2, None), [0]))
    memory = memory_of(2, ArchiveSettings())
    with pytest.raises(PlanError, match="archived rows are not sorted and unique"):
        memory.apply(plan_of(memory, [1, 1]))
    with pytest.raises(PlanError, match="rows kept in the archive"):
        memory.apply(plan_of(memory, [1], keep_archive=[0]))
    with pytest.raises(ConfigError, match="does not exist"):
        ArchiveSettings(disk=tmp_path / "none")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 9))
def test_frames_of_a_view_stand_behind_each_other(cells: list[tuple[int, int, int]], start: int) -> None:
    cells = sorted(cells, key=lambda cell: cell[0])
    frames = [frame for frame, _, _ in cells]
    offsets = [(0, 0, 0) if frame < 0 else (0, row, column) for frame, row, column in cells]
    columns = torch.tensor(cells, dtype=torch.int64).reshape(-1, 3).T
    table = TokenTable.build(
        kind=1,  # type: ignore[arg-type]
        identity_N=torch.arange(len(cells)),
        position_RN=torch.stack((columns[0] * 7, columns[1], columns[2])),
        frame_N=columns[0],
        row_N=torch.where(columns[0] < 0, -1, columns[1]),
        column_N=torch.where(columns[0] < 0, -1, columns[2]),
    )
    shape = MemoryShape(1, 1, 2, 3, 2**20, torch.float32, CPU, time_axes=(0,), has_absolute_time=True)
    expected = frames_behind_frames(frames, offsets, start)
    assert [tuple(row) for row in lay_out(table, start, shape).T.tolist()] == expected


def test_archived_rows_keep_their_distance_when_the_clock_is_moved_back() -> None:
    """Rows 0 to 2 stood at 2 to 4 when they left; closing the gap behind them moves the clock back by nine."""
    memory = memory_of(6, ArchiveSettings())
    raw_KND = memory.current.layers[0].raw_keys(memory.rope)[:, 2:].clone()
    left_N, stays_N = torch.arange(3), torch.arange(9, 18)
    memory.apply(Plan((LayerPlan(stays_N, archive=left_N),) * 2))
    memory.apply(Plan(positions=Positions.COMPACT))
    assert (memory.current.moved, memory.current.next_position) == (9, 11)
    # Another leaves after the move, and stands where it is held.
    memory.apply(Plan((LayerPlan(torch.arange(9), archive=torch.tensor([4])),) * 2))
    layer = memory.current.layers[0]
    seen = see(
        memory.current,
        layer,
        Recalled(torch.arange(4)),
        memory.rope,
        sees_held=True,
        placement="stored",
        end=memory.current.text_position,
    )
    expected_N = torch.tensor([[2 - 9, 3 - 9, 4 - 9, 6]])
    expected_KND = rotate(raw_KND[:, [0, 1, 2, 13]], *memory.rope.tables(expected_N, torch.float32))
    assert torch.equal(seen.keys_KND[:, 2:6], expected_KND)
    assert torch.equal(seen.keys_KND[:, 5], layer.keys[:, 6])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=40), st.integers(1, 200), st.integers(40, 400))
def test_times_that_lie_too_far_back_are_drawn_together_as_a_compaction_does(
    times: list[int], later: int, span: int
) -> None:
    end = max(times) + later
    distinct = sorted(set(times))
    expected = spread_times([*distinct, end], 0, span)
    place = {time: end - expected[-1] + new for time, new in zip(distinct, expected, strict=False)}
    assert _drawn_together(torch.tensor(times), end, span).tolist() == [place[time] for time in times]
