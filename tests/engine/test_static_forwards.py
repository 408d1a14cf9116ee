"""Forwards with static shapes equal the eager packed engine, run after run, whatever happens in between."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from hermes_stream import Hermes, KeepAll, Query, SlidingWindow
from hermes_stream.engine.choosing import choose_tokens
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.bucket import Bucket, buckets_up_to, decode_bucket, question_bucket
from hermes_stream.engine.graphs.inputs import Offsets
from hermes_stream.engine.graphs.place import starts
from hermes_stream.engine.graphs.recorder import CallAgain
from hermes_stream.engine.graphs.static_batch import cut
from hermes_stream.engine.graphs.static_forward import StaticForward
from hermes_stream.engine.graphs.static_forwards import StaticForwards
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.backends import flash
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.dscache import DSCache
from tests.engine.direct import make_task, open_direct, watch_direct
from tests.engine.static import Pair, assert_step_equals_eager, make_arena, open_in_arena
from tests.oracles.packed_attention_oracle import packed_attention_by_segment
from tests.readback import NothingComesBack
from tests.tiny import make_frames, save_checkpoint

TEXT = "red or green?"


@pytest.fixture(autouse=True)
def _kernel_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("llava_onevision", tmp_path_factory.mktemp("small") / "llava", num_hidden_layers=4)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_answers_of_several_sessions_equal_the_eager_engine(tmp_path: Path, family: str) -> None:
    """Sessions of different sizes, questions of different lengths; frames come and are evicted between the steps."""
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family, num_hidden_layers=6)), dtype="float64")
    arena, static = make_arena(adapter), StaticForwards(adapter, CallAgain)
    static.warm_up(arena, [Bucket(1, 16), Bucket(1, 32), Bucket(2, 2), Bucket(4, 4)])
    window = open_in_arena(adapter, SlidingWindow(budget=100), arena)
    grouped = open_in_arena(adapter, Hermes(budget=70), arena)
    everything = open_in_arena(adapter, KeepAll(), arena)
    for stream, n_frames in ((window, 8), (grouped, 12), (everything, 2)):
        watch_direct(stream, make_frames(n_frames, seed=n_frames), 4)
    pairs = []
    for stream, text in ((window, "left?"), (grouped, "Which colour is the circle now?")):
        pairs.append(Pair(stream, text))
        assert_step_equals_eager(static, pairs[-1:])
    assert_step_equals_eager(static, pairs)
    watch_direct(window, make_frames(4, seed=3, start=8), 2)
    watch_direct(grouped, make_frames(8, seed=4, start=12), 4)
    pairs += [Pair(everything, "right?"), Pair(window, "no?")]
    # Two answers go on while two questions of one bucket begin.
    assert_step_equals_eager(static, pairs)
    for _ in range(2):
        assert_step_equals_eager(static, pairs)


class Scene:
    """A LLaVA-OneVision of four layers, its arena, and one stream in it that has seen two frames."""

    def __init__(self, folder: Path, recorder: CallAgain | None = None) -> None:
        self.adapter = load_adapter(str(folder), dtype="float64")
        self.arena, self.recorder = make_arena(self.adapter), recorder or CallAgain()
        self.static = StaticForwards(self.adapter, lambda: self.recorder)
        self.stream = self.open(2)

    def open(self, n_frames: int, seed: int = 0) -> Stream:
        stream = open_in_arena(self.adapter, KeepAll(), self.arena)
        watch_direct(stream, make_frames(n_frames, seed=seed), 4)
        return stream


class _Counting(CallAgain):
    n_records = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.n_records += 1
        return super().record(work)


class _Refusing(_Counting):
    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        super().record(work)
        raise RuntimeError("operation not permitted\n when stream is capturing")


def test_a_recording_forgets_what_it_ran_before(small_folder: Path) -> None:
    """The same question gives the same bits after one that is longer, of another session, in the same bucket."""
    scene = Scene(small_folder)
    scene.static.warm_up(scene.arena, [Bucket(1, 16)])
    other = scene.open(7, seed=5)
    before = assert_step_equals_eager(scene.static, [Pair(scene.stream, "no?")])
    assert_step_equals_eager(scene.static, [Pair(other, "left or right?")])
    assert torch.equal(before, assert_step_equals_eager(scene.static, [Pair(scene.stream, "no?")]))


def test_unused_rows_write_to_no_session(small_folder: Path) -> None:
    """A step of three answers in a bucket of four changes one row of each tail and the scratch rows, nothing else."""
    scene = Scene(small_folder)
    scene.static.warm_up(scene.arena, [Bucket(1, 16), Bucket(4, 4)])
    pairs = [Pair(stream, TEXT) for stream in (scene.stream, scene.open(1, seed=1), scene.open(3, seed=2))]
    for pair in pairs:
        assert_step_equals_eager(scene.static, [pair])
    before = [rows.clone() for rows in scene.arena.rows(3)]
    with torch.inference_mode():
        assert scene.static.run([pair.static.segment() for pair in pairs]) is not None
    tails = [pair.static.question.tail for pair in pairs]
    allowed = {tail.reserve(1)[3].start + tail.n_rows for tail in tails}
    allowed |= set(range(scratch := scene.static._shelf._scratch[3].start, scratch + 8))
    for old_RKD, new_RKD in zip(before, scene.arena.rows(3), strict=True):
        changed = (old_RKD != new_RKD).flatten(1).any(dim=1).nonzero()[:, 0]
        assert set(changed.tolist()) <= allowed
        assert {tail.reserve(1)[3].start + tail.n_rows for tail in tails} <= set(changed.tolist())


def test_a_grown_arena_is_recorded_anew_and_answers_go_on(small_folder: Path) -> None:
    scene = Scene(small_folder, _Counting())
    scene.static.warm_up(scene.arena, [Bucket(1, 16), Bucket(1, 1)])
    pair = Pair(scene.stream, TEXT)
    assert_step_equals_eager(scene.static, [pair])
    generation = scene.arena.generation
    n_records = scene.recorder.n_records
    scene.arena.reserve(scene.arena.rows(0)[0].shape[0] + 1, keep_raw=True)
    assert scene.arena.generation != generation
    for _ in range(2):
        assert_step_equals_eager(scene.static, [pair])
    # The bucket that was needed, once.
    assert scene.recorder.n_records == n_records + 1


def test_an_answer_may_outgrow_its_room_and_change_between_both_ways(small_folder: Path) -> None:
    """Tails of 47 rows get room for 64, then more; every third step runs eagerly on the same tail."""
    scene = Scene(small_folder)
    scene.static.warm_up(scene.arena, [Bucket(1, 16), Bucket(1, 1)])
    pair = Pair(scene.stream, TEXT)
    for step in range(60):
        if step % 3 < 2:
            assert_step_equals_eager(scene.static, [pair])
            continue
        with torch.inference_mode():
            logits, expected = (run_forward(scene.adapter, [x.segment()]).logits_AV for x in (pair.static, pair.eager))
        torch.testing.assert_close(logits, expected, atol=1e-9, rtol=0)
        for task in (pair.static, pair.eager):
            task.accept(int(expected.argmax()))


def test_a_failed_capture_is_said_once_and_costs_nothing_but_speed(
    small_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(small_folder, _Refusing())
    with caplog.at_level(logging.WARNING):
        scene.static.warm_up(scene.arena, [Bucket(1, 16)])
    pair = Pair(scene.stream, TEXT)
    with torch.inference_mode():
        for _ in range(2):
            assert scene.static.run([pair.static.segment()]) is None
        ours, theirs = (run_forward(scene.adapter, [x.segment()], scene.static) for x in (pair.static, pair.eager))
    assert torch.equal(ours.logits_AV, theirs.logits_AV)
    assert scene.recorder.n_records == 1
    (capture,) = scene.static.captures
    assert capture.error == "RuntimeError: operation not permitted when stream is capturing"
    assert [record.message for record in caplog.records] == [
        "a question of 16 tokens runs uncaptured and slower, because its capture failed: " + capture.error
    ]


def test_what_needs_more_than_rows_and_lengths_is_left_to_the_eager_engine(small_folder: Path) -> None:
    scene = Scene(small_folder)
    scene.static.warm_up(scene.arena, buckets_up_to(16, 1))
    task = Pair(scene.stream, TEXT).static
    segment = task.segment()
    assert scene.static.run([Pair(scene.stream, TEXT).static.segment() for _ in range(5)]) is None
    assert scene.static.run([Pair(scene.stream, "left? " * 9).static.segment()]) is None
    with torch.inference_mode():
        assert scene.static.run(Piece(scene.stream, make_frames(1, start=2)).segments()) is None
    elsewhere = open_direct(scene.adapter, KeepAll())
    assert scene.static.run([Pair(elsewhere, TEXT).static.segment()]) is None
    fresh = open_in_arena(scene.adapter, DSCache(budget=40), scene.arena)
    watch_direct(fresh, make_frames(6), 4)
    assert scene.static.run([Pair(fresh, TEXT).static.segment()]) is None
    segment.n_read = 3
    assert scene.static.run([segment]) is None
    segment.n_read = 0
    with torch.inference_mode():
        assert scene.static.run([segment]) is not None


class _NothingGoesThere(TorchDispatchMode):
    """Fails where numbers of the host become a tensor: a recording would keep those of its first run."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in {torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default}
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("bucket", [Bucket(1, 16), Bucket(2, 2)], ids=str)
def test_a_run_neither_reads_from_the_device_nor_writes_to_it(
    tmp_path: Path, family: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(query_THD: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(query_THD), query_THD.new_zeros(query_THD.shape[1], query_THD.shape[0])

    monkeypatch.setattr(flash, "kernel", kernel)
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family, num_hidden_layers=2)))
    arena = make_arena(adapter)
    scratch = [arena.slab(index, 16, keep_raw=False) for index in range(2)]
    with torch.inference_mode():
        forward = StaticForward(adapter, arena, bucket, starts(scratch))
        with _NothingGoesThere(), pytest.raises(AssertionError):
            torch.tensor([1])
        with _NothingGoesThere(), NothingComesBack():
            forward.run()
    assert forward.largest_A.shape == (bucket.n_segments,)


def test_tokens_of_all_answers_are_read_at_once(small_folder: Path) -> None:
    """Greedy, penalised and drawn ones."""
    scene = Scene(small_folder)
    queries = [Query(TEXT), Query(TEXT, repetition_penalty=1.3), Query(TEXT, temperature=0.7, seed=3)]
    tasks = [make_task(scene.stream, query)[0] for query in queries]
    for _ in range(2):
        with torch.inference_mode():
            outcome = run_forward(scene.adapter, [task.segment() for task in tasks])
            with NothingComesBack():
                tokens = choose_tokens(tasks, outcome)
        assert tokens[0] == int(outcome.logits_AV[0].argmax())
        for task, token in zip(tasks, tokens, strict=True):
            assert isinstance(token, int)
            task.accept(token)


@given(n_rows=st.integers(1, 140), n_sessions=st.integers(1, 70))
def test_a_bucket_is_the_smallest_that_holds_it_and_is_among_those_warmed_up(n_rows: int, n_sessions: int) -> None:
    question, decode = question_bucket(n_rows), decode_bucket(n_sessions)
    assert question == next((Bucket(1, size) for size in (16, 32, 64, 128) if size >= n_rows), None)
    assert decode == next((Bucket(size, size) for size in (1, 2, 4, 8, 16, 32, 64) if size >= n_sessions), None)
    warmed = buckets_up_to(n_rows, n_sessions)
    assert {question, decode} - {None} <= set(warmed)
    assert all(bucket.n_rows // 2 < max(n_rows, 16) for bucket in warmed if not bucket.is_decode)
    assert all(bucket.n_segments // 2 < n_sessions for bucket in warmed if bucket.is_decode)


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    sizes=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    n_parts=st.integers(1, 9),
)
def test_parts_of_held_rows_are_disjoint_even_and_all_of_them(
    lengths: list[int], sizes: list[int], n_parts: int
) -> None:
    cu_q = [0, *accumulate(sizes[: len(lengths)])]
    starts_N = [100 * index for index in range(len(lengths))]
    as_int32 = partial(torch.tensor, dtype=torch.int32)
    nothing = as_int32([[0]])
    offsets = Offsets(as_int32(cu_q), as_int32([[*starts_N, 0]]), as_int32([lengths]), nothing, nothing)
    part_cu_q, part_start, part_len = cut(offsets, n_parts)
    assert part_start.shape == (1, n_parts * len(lengths) + 1)
    assert part_cu_q.tolist() == [part * cu_q[-1] + row for part in range(n_parts) for row in cu_q[:-1]] + [
        n_parts * cu_q[-1]
    ]
    for index, (start, length) in enumerate(zip(starts_N, lengths, strict=True)):
        bounds = zip(part_start[0, index :: len(lengths)], part_len[0, index :: len(lengths)], strict=False)
        parts = [range(int(first), int(first + n)) for first, n in bounds]
        assert [row for part in parts for row in part] == list(range(start, start + length))
        assert max(map(len, parts)) <= -(-length // n_parts)
