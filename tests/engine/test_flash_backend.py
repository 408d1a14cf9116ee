"""The packed path on a CPU, with a kernel written out, gives what the reference gives."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Answer, Engine, Hermes, KeepAll, Policy, Query, SlidingWindow
from hermes_stream.engine.batch import PackedBatch
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.stream import Stream
from hermes_stream.memory.backends import flash, packed
from hermes_stream.memory.backends.packed import FlashBackend
from hermes_stream.memory.slab import Slab
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from tests.engine.direct import make_task, open_direct, question_logits, watch_direct, watch_packed
from tests.oracles.packed_attention_oracle import packed_attention_by_segment
from tests.tiny import make_frames, save_checkpoint

QUESTION = "red or green?"


@pytest.fixture(autouse=True)
def _kernel_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "kernel", packed_attention_by_segment)


def load_both(folder: Path) -> tuple[Adapter, Adapter]:
    """The same model twice: with the reference, and with the packed path."""
    reference, ours = (load_adapter(str(folder), dtype="float64") for _ in range(2))
    ours.backend = FlashBackend()  # type: ignore[misc]
    return reference, ours


def assert_same_memories(ours: Stream, theirs: Stream) -> None:
    for a, b in zip(ours.memory.current.layers, theirs.memory.current.layers, strict=True):
        assert torch.equal(a.table.data_CHN, b.table.data_CHN)
        torch.testing.assert_close(a.slab.rows(a.n_held), b.slab.rows(b.n_held), atol=1e-9, rtol=0)


@torch.inference_mode()
def packed_answers(streams: list[Stream], n_steps: int) -> torch.Tensor:
    """Logits `[steps, streams, V]` of answers that are decoded together, one of them a step behind the others."""
    adapter = streams[0].adapter
    tasks = [make_task(stream, QUESTION)[0] for stream in streams]
    logits = []
    late = tasks.pop()
    for step in range(n_steps):
        if step == 1:
            tasks.append(late)
        batch = PackedBatch([task.segment() for task in tasks], adapter.rope)
        logits_LV = adapter.logits(adapter.run(batch)[batch.last_rows])
        logits.append(logits_LV)
        for index, task in enumerate(tasks):
            # A token that ends no answer, the same on both paths.
            task.accept(100 + 7 * step + index)
    return torch.cat(logits)


@pytest.mark.parametrize(("family", "budgets"), [("llava_onevision", (40, 27)), ("qwen3_vl", (60, 70))])
def test_sessions_packed_together_watch_evict_fork_and_answer_as_on_the_reference(
    tmp_path: Path, family: str, budgets: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HERMES with its probes, a window, and everything; questions split into parts as on a large device."""
    monkeypatch.setattr(packed, "_ROWS_PER_PART", 8)
    window = SlidingWindow(budget=budgets[1], positions="compact")
    policies: tuple[Policy, ...] = Hermes(budget=budgets[0]), window, KeepAll()
    clips = [make_frames(6, seed=seed) for seed in range(len(policies))]
    results = []
    for adapter in load_both(save_checkpoint(family, tmp_path / family)):
        # One of them keeps no un-rotated keys.
        streams = [open_direct(adapter, p, chunk_frames=2, keep_raw=p is not window) for p in policies]
        for first in (0, 2):
            watch_packed(streams, [clip[first : first + 2] for clip in clips])
        fork = streams[0].fork()
        watch_packed(streams, [clip[4:] for clip in clips])
        watch_direct(fork, clips[1][4:], 2)
        results.append(([*streams, fork], packed_answers([*streams, fork], 3)))
    (theirs, expected), (ours, found) = results
    assert ours[0].memory.current.layers[0].slab.arena is not None
    for a, b in zip(ours, theirs, strict=True):
        assert_same_memories(a, b)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_what_no_packed_call_knows_is_done_beside_it(llava_folder: Path) -> None:
    """A question whose attention is wanted and a decode step ride with frames and probes of another session."""
    results = []
    for adapter in load_both(llava_folder):
        watching, asked = (open_direct(adapter, policy, chunk_frames=4) for policy in (Hermes(budget=30), KeepAll()))
        watch_packed([watching, asked], [make_frames(4), make_frames(4, seed=1)])
        with torch.inference_mode():
            piece = Piece(watching, make_frames(4, start=4))
            read, plain = (make_task(asked, QUESTION)[0].segment() for _ in range(2))
            read.n_read = 3
            batch = PackedBatch([plain, read, *piece.segments()], adapter.rope)
            logits_LV = adapter.logits(adapter.run(batch)[batch.last_rows])
            piece.finish()
        results.append((watching, logits_LV, torch.stack(list(read.attention.values()))))
    (theirs, *expected), (ours, *found) = results
    assert_same_memories(ours, theirs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_evidence_reads_rows_of_an_arena_as_it_does_others(llava_folder: Path) -> None:
    """The tail is cut back to rows that it has, while other questions' tails stand around it."""
    found = []
    for adapter in load_both(llava_folder):
        stream = open_direct(adapter, KeepAll(), chunk_frames=4)
        watch_direct(stream, make_frames(6), 4)
        tasks = [make_task(stream, Query(QUESTION, max_new_tokens=3, evidence=6))[0] for _ in range(2)]
        answers: list[Answer] = []
        with torch.inference_mode():
            while len(answers) < len(tasks):
                tokens = run_forward(adapter, [task.segment() for task in tasks]).largest_A.tolist()
                accepted = [task.accept(token) for task, token in zip(tasks, tokens, strict=True)]
                answers = [answer for answer in accepted if answer is not None]
        found += [{evidence.frame: evidence.weight for evidence in answer.evidence} for answer in answers]
    assert len(found[0]) == 6
    assert found[1:] == [pytest.approx(found[0], abs=1e-9)] * 3


@pytest.mark.parametrize("n_sessions", [1, 3])
def test_a_forward_takes_two_calls_a_layer_however_many_sessions_ride(
    llava_folder: Path, n_sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames with their probes: one call up to themselves, one for the held rows of the probes."""
    _, adapter = load_both(llava_folder)
    streams = [open_direct(adapter, Hermes(budget=15), chunk_frames=2) for _ in range(n_sessions)]
    segments_of_calls: list[int] = []

    def counting(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        segments_of_calls.append(len(arguments[5]))
        return packed_attention_by_segment(*arguments)

    monkeypatch.setattr(flash, "kernel", counting)
    with torch.inference_mode():
        segments = [segment for stream in streams for segment in Piece(stream, make_frames(2)).segments()]
        adapter.run(PackedBatch(segments, adapter.rope))
    n_probes = len(segments) - n_sessions
    assert n_probes >= n_sessions
    assert segments_of_calls == [len(segments), n_probes] * adapter.facts.n_layers


def test_a_memory_in_8_bits_rides_beside_an_arena(llava_folder: Path) -> None:
    results = []
    for adapter in load_both(llava_folder):
        streams = [open_direct(adapter, Hermes(budget=30, memory_bits=bits), chunk_frames=2) for bits in (16, 8)]
        for first in (0, 2):
            watch_packed(streams, [make_frames(2, seed=seed, start=first) for seed in range(2)])
        results.append((streams, packed_answers(streams, 3)))
    (_, expected), (streams, found) = results
    assert [stream.memory.current.layers[0].slab.arena is None for stream in streams] == [False, True]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_closed_sessions_give_their_rows_back(llava_folder: Path) -> None:
    """Many sessions one after another need no more room than the first."""
    _, adapter = load_both(llava_folder)
    sizes = []
    for seed in range(4):
        stream = open_direct(adapter, SlidingWindow(budget=20), chunk_frames=2)
        watch_direct(stream, make_frames(4, seed=seed), 2)
        question_logits(stream, QUESTION)
        del stream
        arena = adapter.backend.arena  # type: ignore[attr-defined]
        sizes.append((arena.allocated_bytes, arena.generation))
    assert sizes[1:] == [sizes[1]] * 3


def test_sessions_take_their_rows_on_the_engines_thread(tmp_path: Path) -> None:
    """The arena is not made for several threads, and sessions are opened on any."""
    _, adapter = load_both(save_checkpoint("llava_onevision", tmp_path / "llava", num_hidden_layers=2))
    threads, empty_slab = set(), adapter.backend.empty_slab

    def watched(*args: Any, **kwargs: Any) -> Slab:
        threads.add(threading.current_thread().name)
        return empty_slab(*args, **kwargs)

    adapter.backend.empty_slab = watched  # type: ignore[method-assign]
    with Engine(adapter) as engine, engine.open("keep-all"):
        assert threads == {"hermes-stream engine"}
