"""`bench latency`: rows of real questions; nothing that happens before a question is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from hermes_stream import Engine, Query
from hermes_stream.bench.encoding import ENCODED, REUSED, BenchAdapter, endless, question_of
from hermes_stream.bench.latency import LatencySettings, measure_latency
from hermes_stream.bench.latency_rows import LatencyRow, StoppedRow, growths
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.timing import preparation_seconds
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Frame, VisualTokens
from tests.tiny import save_checkpoint


@pytest.fixture(scope="module")
def adapter(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


@pytest.fixture(scope="module")
def rows(adapter: Adapter) -> list[LatencyRow | StoppedRow]:
    """512 positions: 448 for frames, those of the prompt among them, so keep-all ends after 48 frames of 9 tokens."""
    memories, frames = ["hermes", "keep-all", "rekv"], [6, 16, 64]
    settings = LatencySettings(memories=memories, chunks=[4], frames=frames, budget=48, n_questions=3, answer_tokens=2)
    return measure_latency(adapter, settings, lambda _: None)


def test_there_is_a_row_for_each_memory_and_number_of_frames(rows: list[LatencyRow | StoppedRow]) -> None:
    measured = [row for row in rows if isinstance(row, LatencyRow)]
    asked = [(row.policy, row.frames) for row in measured]
    assert asked == [
        *(("hermes", n) for n in (6, 16, 64)), *(("keep-all", n) for n in (6, 16)), *(("rekv", n) for n in (6, 16, 64)),
    ]  # fmt: skip
    for row in measured:
        assert 0 < row.ttft_ms_p50 <= row.ttft_ms_p95
        assert row.tpot_ms is not None
        assert row.questions == 3
        assert row.pending_ms == pytest.approx(row.newest_frame_ms + row.preparation_ms, abs=0.01)
        assert row.filled_with == REUSED
        # As a question that fits the positions kept free for it, with its answer.
        assert 50 < row.question_tokens <= 62


def test_a_bounded_memory_does_not_grow(rows: list[LatencyRow | StoppedRow]) -> None:
    late, early = (row for row in rows if isinstance(row, LatencyRow) and row.policy == "hermes" and row.frames > 6)
    assert late.peak_bytes == early.peak_bytes
    assert late.held_tokens == early.held_tokens == 48
    # What is not yet evicted counts, and the room that rows have to grow.
    assert late.peak_bytes > late.memory_bytes


def test_a_memory_that_runs_out_says_where_and_why(rows: list[LatencyRow | StoppedRow]) -> None:
    (stopped,) = (row for row in rows if isinstance(row, StoppedRow))
    assert (stopped.policy, stopped.frames) == ("keep-all", 64)
    assert stopped.frames_reached == 48
    assert "positions" in stopped.error


def test_recall_is_work_before_the_question_is_read(rows: list[LatencyRow | StoppedRow]) -> None:
    """The asking pass of ReKV is a forward through all layers; a bounded memory has nothing to prepare but text."""
    of = {(row.policy, row.frames): row for row in rows if isinstance(row, LatencyRow)}
    assert of["rekv", 16].preparation_ms > 2 * of["hermes", 16].preparation_ms
    assert all(row.preparation_ms < row.ttft_ms_p95 for row in of.values())


def test_growth_is_measured_against_64_frames_or_the_fewest(rows: list[LatencyRow | StoppedRow]) -> None:
    late, row = growths(rows)[0].late, next(row for row in rows if isinstance(row, LatencyRow))
    found = {growth.late.policy: (growth.late.frames, growth.early.frames) for growth in growths(rows)}
    assert found == {"hermes": (64, 6), "keep-all": (16, 6), "rekv": (64, 6)}
    longer = replace(late, frames=500, ttft_ms_p50=3 * late.ttft_ms_p50, peak_bytes=2 * late.peak_bytes)
    (growth,) = growths([longer, replace(row, frames=6), late])
    assert growth.as_row() == {
        "policy": "hermes", "chunk": 4, "frames": 500, "against_frames": 64, "ttft_ratio": 3, "peak_ratio": 2,
    }  # fmt: skip


def test_a_frame_that_waits_for_its_partner_is_pending(tmp_path: Path) -> None:
    """Three frames make one grid and a half; the question encodes the half, which is then no work of its forward."""
    adapter = load_adapter(str(save_checkpoint("qwen2_5_vl", tmp_path)))
    settings = LatencySettings(memories=["sliding-window"], chunks=[4], frames=[2, 3], n_questions=3, answer_tokens=2)
    whole, odd = measure_latency(adapter, settings, lambda _: None)
    assert isinstance(whole, LatencyRow)
    assert isinstance(odd, LatencyRow)
    assert (whole.frames, odd.frames) == (2, 3)
    assert odd.filled_with == ENCODED
    # Handing it over takes nothing, but the question finds it unread.
    assert odd.newest_frame_ms < whole.newest_frame_ms
    assert odd.preparation_ms > 1.5 * whole.preparation_ms


def test_what_prepares_a_question_leaves_no_trace(adapter: Adapter) -> None:
    shown = pictures(4)
    with Engine(cast(Adapter, BenchAdapter(adapter, shown))) as engine:
        session = engine.open("rekv", budget=48)
        session.watch(endless(shown, 0, 8))
        version, state = session.memory, session.stream.state
        assert preparation_seconds(engine, session, Query("What?")) > 0
        assert session.memory is version
        assert session.stream.state is state


def test_known_pictures_are_encoded_once_and_as_ever(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = pictures(3, every_seconds=8)
    n_encoded: list[int] = []
    embed_clips = adapter.embed_clips

    def counting(clips: Sequence[Clip], **options: Any) -> list[VisualTokens]:
        n_encoded.extend(len(clip.frames) for clip in clips)
        return embed_clips(clips, **options)

    monkeypatch.setattr(adapter, "embed_clips", counting)
    bench = BenchAdapter(adapter, shown)
    for start in (0, 3, 31):
        frames = list(endless(shown, start, start + 4))
        with torch.inference_mode():
            found = bench.embed(frames, since_seconds=0.0, wants_saliency=True)
            (expected,) = embed_clips([Clip(frames, 0.0)], wants_saliency=True)
        for field in fields(VisualTokens):
            torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name), msg=field.name)
    assert n_encoded == [1, 1, 1]
    with torch.inference_mode():
        bench.embed([Frame(3.0, shown[0].copy())], since_seconds=0.0)
    assert len(n_encoded) == 4


def test_questions_have_the_length_that_is_asked_for(adapter: Adapter) -> None:
    for n in (40, 64):
        text = question_of(adapter, n)
        assert n - 6 <= adapter.question(text, after_video=True).shape[0] <= n


def test_the_peak_of_a_memory_is_the_most_it_ever_took(adapter: Adapter) -> None:
    """Before rows are evicted, an interval's are there as well; a fork has the same past."""
    shown = pictures(4)
    with (
        Engine(cast(Adapter, BenchAdapter(adapter, shown))) as engine,
        engine.open("sliding-window", budget=36) as session,
    ):
        seen: list[int] = []
        for start in range(0, 24, 4):
            session.watch(endless(shown, start, start + 4))
            seen.append(session.memory.allocated_bytes)
        memory: KVMemory = session.stream.memory
        assert memory.peak_bytes >= max(seen)
        rows = session.stats.peak_tokens + session.memory.n_prefix
        assert memory.peak_bytes >= rows * sum(layer.slab.bytes_per_row for layer in session.memory.layers)
        assert session.fork().stream.memory.peak_bytes == memory.peak_bytes
