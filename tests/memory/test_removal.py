"""Rows that are taken out of a version: which, what becomes of those beside them, and where their bytes go.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import LimitError
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.packed_rows import pack
from hermes_stream.memory.plan import Fold, LayerPlan, Plan
from hermes_stream.memory.removal import newest_seconds, shown_after, shown_within
from hermes_stream.memory.spill_file import SpillFile
from hermes_stream.memory.token_table import TokenKind, TokenTable
from tests.policies.harness import append_frames, append_prefix, empty_memory, visual_tokens

CPU = torch.device("cpu")
PER_FRAME = 3
spans = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=8)


@given(rows=spans, start=st.integers(-1, 10), length=st.integers(1, 5))
def test_which_rows_are_of_a_time(rows: list[tuple[int, int, bool]], start: int, length: int) -> None:
    """A grid is of its first and its last frame; what was made of several rows may be of any time between."""
    first_N, last_N = (torch.tensor([edge(a, b) for a, b, _ in rows], dtype=torch.float64) for edge in (min, max))
    kind_N = torch.tensor([TokenKind.SUMMARY if made else TokenKind.VISION for *_, made in rows], dtype=torch.int64)
    table = TokenTable.build(
        kind=kind_N,
        identity_N=torch.arange(len(rows)),
        position_RN=torch.arange(len(rows))[None],
        seconds_N=(first_N + last_N) / 2,
        span_2N=torch.stack((first_N, last_N)),
    )
    end = start + length

    def is_of(a: int, b: int, made: bool) -> bool:
        frames = range(min(a, b), max(a, b) + 1) if made else (a, b)
        return any(start <= frame < end for frame in frames)

    assert shown_within(start, end)(table)[0].tolist() == [is_of(*row) for row in rows]
    assert shown_after(start)(table)[0].tolist() == [max(a, b) > start for a, b, _ in rows]
    assert newest_seconds([table]) == max((float(max(a, b)) for a, b, _ in rows), default=None)


def memory_of(n_frames: int, archive: ArchiveSettings | None = None, *, n_layers: int = 2, **options: Any) -> KVMemory:
    """Frames of three tokens, one a second."""
    memory = empty_memory(n_layers, archive=archive, **options)
    append_prefix(memory, 2)
    append_frames(memory, n_frames, PER_FRAME, torch.Generator().manual_seed(n_frames))
    return memory


@settings(max_examples=40, deadline=None)
@given(n_frames=st.integers(1, 6), start=st.integers(-1, 6), length=st.integers(1, 4), bits=st.sampled_from([16, 8]))
def test_to_remove_is_to_drop_by_a_plan(n_frames: int, start: int, length: int, bits: Any) -> None:
    """Bit by bit; the prefix stays, whatever its rows say of times."""
    ours, theirs = (memory_of(n_frames, memory_bits=bits) for _ in range(2))
    before = ours.current
    removal = ours.remove(shown_within(start, start + length), forgets=True)
    keep = [row for row in range(n_frames * PER_FRAME) if not start <= row // PER_FRAME < start + length]
    theirs.apply(Plan.same_rows(torch.tensor(keep, dtype=torch.int64), 2))
    ours.check_invariants()
    for one, other in zip(ours.current.layers, theirs.current.layers, strict=True):
        assert torch.equal(one.table.data_CHN, other.table.data_CHN)
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.n_dropped_H, other.n_dropped_H)
    n_gone = n_frames * PER_FRAME - len(keep)
    assert removal.rows_by_kind.get(TokenKind.VISION, 0) == 2 * n_gone
    assert (removal.more_rows, removal.features, removal.archive_rows) == (0, 0, 0)
    assert before.held_tokens == (n_frames * PER_FRAME,) * 2
    assert len({id(layer.table) for layer in ours.current.layers}) == 1


def test_summaries_go_with_anything_that_is_in_them() -> None:
    memory = memory_of(6, n_layers=1)
    folds = (Fold(torch.tensor([0, 3])), Fold(torch.tensor([6, 15])), Fold(torch.tensor([1, 2])))
    memory.apply(Plan((LayerPlan(torch.tensor([9, 12, 16]), folds),)))
    removal = memory.remove(shown_within(3.0, 4.0), forgets=True)
    memory.check_invariants()
    # Row 9 is of second 3; the summary of seconds 2 and 5 may be of it, for all that is known.
    assert removal.rows_by_kind == {TokenKind.VISION: 1, TokenKind.TEXT: 0, TokenKind.SUMMARY: 1}
    assert memory.current.layers[0].table.span_2HN[:, 0, 2:].T.tolist() == [[4, 4], [5, 5], [0, 1], [0, 0]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), start=st.integers(0, 4), length=st.integers(1, 3), n_keep=st.integers(1, 9))
def test_heads_lose_what_they_hold_and_go_on_with_as_many_rows(seed: int, start: int, length: int, n_keep: int) -> None:
    """Of heads that lost less the oldest rows go too, and are counted."""
    generator, memory = torch.Generator().manual_seed(seed), memory_of(5, n_layers=1)
    keep_Kn = torch.stack([torch.randperm(15, generator=generator)[:n_keep].sort().values for _ in range(2)])
    memory.apply(Plan((LayerPlan(keep_Kn),)))
    before = memory.current.layers[0]
    removal = memory.remove(shown_within(start, start + length), forgets=True)
    memory.check_invariants()
    left = [[row for row in rows if not start <= row // PER_FRAME < start + length] for rows in keep_Kn.tolist()]
    n = min(map(len, left))
    after = memory.current.layers[0]
    n_gone = sum(n_keep - len(rows) for rows in left)
    if n_gone:
        for head, rows in enumerate(left):
            newest = rows[len(rows) - n :]
            assert (after.table.identity_HN[head, 2:] - 2).tolist() == newest
            places = [2 + keep_Kn[head].tolist().index(row) for row in newest]
            assert torch.equal(after.values[head, 2:], before.values[head, places])
    assert removal.rows_by_kind.get(TokenKind.VISION, 0) == n_gone
    assert removal.more_rows == sum(len(rows) - n for rows in left) * bool(n_gone)


def test_features_that_wait_go_too() -> None:
    memory = empty_memory(1)
    append_prefix(memory, 2)
    memory.commit_features(visual_tokens(4, PER_FRAME), 3.0)
    removal = memory.remove(shown_within(1.0, 3.0), forgets=True)
    memory.check_invariants()
    bank = memory.current.features
    assert bank.table.frame_HN[0].tolist() == [0] * 3 + [3] * 3
    assert (removal.features, int(bank.n_dropped), bank.n_entered) == (6, 6, 12)


def archive_all(memory: KVMemory) -> None:
    """Two blocks: the first two frames, then all the others."""
    for rows in (torch.arange(2 * PER_FRAME), torch.arange(2 * PER_FRAME, memory.current.held_tokens[0])):
        memory.apply(Plan((LayerPlan(torch.arange(memory.current.held_tokens[0]), archive=rows),) * 2))


@pytest.mark.parametrize("settings_", [{"bits": 16}, {"bits": 8}, {"bits": 4}, {"bits": 4, "ranges": "row"}], ids=str)
@pytest.mark.parametrize("forgets", [False, True])
def test_archived_rows_go_and_ranges_that_were_shared_are_made_anew(settings_: Any, forgets: bool) -> None:
    memory = memory_of(6, ArchiveSettings(**settings_))
    archive_all(memory)
    before = [layer.archive.read(None, CPU) for layer in memory.current.layers]
    whole = memory.current.layers[0].archive.blocks[0]
    removal = memory.remove(shown_within(3.0, 4.0), forgets=forgets)
    memory.check_invariants()
    left = [row for row in range(6 * PER_FRAME) if row // PER_FRAME != 3]
    assert [rows_N.tolist() for rows_N in removal.archive_rows_L] == [left] * 2
    assert removal.archive_rows == 2 * PER_FRAME
    shares = settings_["bits"] != 16 and "ranges" not in settings_
    for layer, was in zip(memory.current.layers, before, strict=True):
        assert (layer.archive.table.identity_HN[0] - 2).tolist() == left
        for now_KND, was_KND in zip(layer.archive.read(None, CPU), was, strict=True):
            expected_KND = was_KND[:, left]
            if forgets and shares:
                torn = slice(2 * PER_FRAME, None)
                expected_KND[:, torn] = pack(expected_KND[:, torn], settings_["bits"]).unpack(CPU)
            assert torch.equal(now_KND, expected_KND)
    if "ranges" not in settings_:
        assert memory.current.layers[0].archive.blocks[0] is whole


def content_of(memory: KVMemory) -> bytes:
    """All that is in the archive's file."""
    assert memory.store is not None
    assert memory.store._file is not None
    number = memory.store._file._file.fileno()
    return os.pread(number, os.fstat(number).st_size, 0)


def bytes_of(memory: KVMemory, rows: slice) -> bytes:
    """Values of held rows as they are archived at 16 bits, of one head of one layer."""
    return memory.current.layers[1].values[0, rows].contiguous().numpy().tobytes()


@pytest.mark.parametrize("is_torn", [False, True])
def test_the_files_bytes_are_overwritten_once_nobody_holds_them(tmp_path: Path, is_torn: bool) -> None:
    """A whole block, or a part of one: what is left of it is written anew, and the rest is gone."""
    memory = memory_of(6, ArchiveSettings(host_bytes=1, disk=tmp_path))
    archive_all(memory)
    gone, stays = bytes_of(memory, slice(2, 5)), bytes_of(memory, slice(8, 11))
    fork, pinned = memory.fork(), memory.current
    assert gone in content_of(memory)
    memory.remove(shown_within(0.0, 1.0 if is_torn else 2.0), forgets=True)
    assert memory.store is not None
    memory.store.flush()
    # Both the fork and whoever holds the version read on.
    for version in (fork.current, pinned):
        values_KND = version.layers[1].archive.read(None, CPU)[1]
        assert values_KND[0, :3].contiguous().numpy().tobytes() == gone
    assert gone in content_of(memory)
    del fork, version
    gc.collect()
    assert gone in content_of(memory)
    del pinned
    gc.collect()
    content = content_of(memory)
    assert gone not in content
    assert stays in content
    assert torch.equal(
        memory.current.layers[1].archive.read(None, CPU)[1][:, -3:], memory.current.layers[1].values[:, -3:]
    )


def test_what_nobody_reads_makes_room_in_the_file(tmp_path: Path) -> None:
    """A stream that forgets as much as it archives never needs more."""
    most = 0
    memory = memory_of(4, ArchiveSettings(host_bytes=1, disk=tmp_path))
    for second in range(40):
        n = memory.current.held_tokens[0]
        keep = torch.arange(n - 6 if n > 12 else 0, n)
        memory.apply(Plan((LayerPlan(keep, archive=torch.arange(n - PER_FRAME, n)),) * 2))
        append_frames(memory, 1, PER_FRAME, torch.Generator().manual_seed(second))
        memory.remove(shown_within(float("-inf"), second - 3), forgets=True)
        memory.check_invariants()
        most = max(most, len(content_of(memory)))
    assert memory.current.archive_bytes(disk=True) > 0
    assert most < 3 * memory.current.archive_bytes(disk=True)


def test_a_full_disk_does_not_keep_anybody_from_forgetting(tmp_path: Path) -> None:
    n_bytes = 2 * 2 * 2 * 2 * 4 * 6 * PER_FRAME  # layers, keys and values, heads, dimensions, float32, rows
    memory = memory_of(6, ArchiveSettings(host_bytes=1, disk=tmp_path, disk_bytes=n_bytes))
    archive_all(memory)
    assert memory.current.archive_bytes(disk=True) == n_bytes
    memory.remove(shown_within(3.0, 4.0), forgets=True)
    assert memory.current.archive_bytes(disk=True) < n_bytes
    n = memory.current.held_tokens[0]
    memory.apply(Plan((LayerPlan(torch.arange(n - 3)),) * 2))
    append_frames(memory, 2, PER_FRAME)
    n = memory.current.held_tokens[0]
    with pytest.raises(LimitError, match="raise the option disk_limit"):
        memory.apply(Plan((LayerPlan(torch.arange(n), archive=torch.arange(n - 6, n)),) * 2))


sizes = st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=20)


@settings(max_examples=60, deadline=None)
@given(steps=sizes)
def test_a_file_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """Whatever was dropped before; its bytes are those of what can be read."""
    file, held = SpillFile(tmp_path_factory.mktemp("spill")), []
    for number, (n, drops, erases) in enumerate(steps):
        tensor = torch.full((n,), number, dtype=torch.uint8)
        held.append((tensor, file.write(tensor)))
        if drops:
            index = number % len(held)
            if erases:
                file.erase_when_free(held[index][1])
            del held[index]
        for expected, stored in held:
            assert torch.equal(stored.load(), expected)
        assert file.n_bytes == sum(expected.numel() for expected, _ in held)
