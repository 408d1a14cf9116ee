"""HERMES on a running engine: where its probes ride, what it costs below the budget, and that nothing grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Frame, Hermes
from hermes_stream.engine.batch import CommitSegment, PackedBatch, ProbeSegment
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.types import Turn
from tests.engine.direct import open_direct, question_logits, watch_direct
from tests.tiny import make_frames


@pytest.fixture(scope="module")
def adapter(llava_folder: Path) -> Adapter:
    return load_adapter(str(llava_folder))


@pytest.fixture
def forwards(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> list[PackedBatch]:
    """Every forward that the test causes."""
    seen: list[PackedBatch] = []
    run = adapter.run

    def record(batch: Any) -> torch.Tensor:
        seen.append(batch)
        return run(batch)

    monkeypatch.setattr(adapter, "run", record)
    return seen


def test_probes_ride_in_the_forward_that_ends_the_interval(adapter: Adapter, forwards: list[PackedBatch]) -> None:
    """HERMES' release runs three extra passes per chunk, also below the budget (defect C)."""
    stream = open_direct(adapter, Hermes(budget=60), chunk_frames=4)
    watch_direct(stream, make_frames(8), 2)
    kinds = [[type(segment) for segment in batch.segments] for batch in forwards]
    commit, probe = CommitSegment, ProbeSegment
    # The prefix; two pieces of an interval that stays below the budget; two pieces of one that exceeds it.
    assert kinds == [[commit], [commit], [commit], [commit], [commit, probe, probe]]
    mixed, whole = forwards[-1].segments[1:]
    assert isinstance(mixed, ProbeSegment)
    assert isinstance(whole, ProbeSegment)
    assert sorted(mixed.mass) == list(range(1, 8))
    assert sorted(whole.mass) == list(range(8, 12))


def test_history_is_quoted_in_the_probes(adapter: Adapter, forwards: list[PackedBatch]) -> None:
    stream = open_direct(adapter, Hermes(budget=40), chunk_frames=4)
    watch_direct(stream, make_frames(8), 4)
    n_before = forwards[-1].segments[1].embeddings_TE.shape[0]
    stream.history = (Turn("Who came in?", "a red ring"),)
    watch_direct(stream, make_frames(4, start=8), 4)
    assert forwards[-1].segments[1].embeddings_TE.shape[0] > n_before


def test_layers_hold_what_their_group_is_for(adapter: Adapter) -> None:
    stream = open_direct(adapter, Hermes(budget=30), chunk_frames=4)
    watch_direct(stream, make_frames(40), 4)
    layers = stream.memory.current.layers
    shallow, deep = layers[0].table, layers[-1].table
    n_prefix = stream.memory.current.n_prefix
    # A shallow layer is first in, first out; smoothing lets a few older tokens through.
    assert float(shallow.frame_HN[0, n_prefix:].float().mean()) > float(deep.frame_HN[0, n_prefix:].float().mean())
    assert int((shallow.kind_HN == TokenKind.SUMMARY).sum()) == 0
    assert int((deep.kind_HN == TokenKind.SUMMARY).sum()) >= 1
    assert int(deep.count_HN[0, n_prefix:].sum()) == 40 * 9
    stream.memory.check_invariants()


@pytest.mark.parametrize(
    ("reindex", "n_chunks"), [pytest.param("lazy", 1000, marks=pytest.mark.slow), ("lazy", 200), ("eager", 200)]
)
def test_the_budget_holds_and_nothing_grows(adapter: Adapter, reindex: str, n_chunks: int) -> None:
    """One frame an interval, so 1,000 compressions; lazy positions run out and are compacted dozens of times."""
    memory = Hermes(budget=30, reindex=reindex)
    stream = open_direct(adapter, memory, chunk_frames=1)
    images = [frame.image_YXC for frame in make_frames(50)]
    for index in range(n_chunks):
        watch_direct(stream, [Frame(float(index), images[index % 50])], 1)
        held = stream.memory.current.held_tokens
        assert max(held) <= 30
        if index % 100 == 99:
            stream.memory.check_invariants()
            assert stream.memory.current.allocated_bytes <= 12 * 3 * 2 * 16 * 4 * 128
    assert stream.memory.current.frames_seen == n_chunks
    assert stream.memory.peak_tokens <= 39
    assert bool(question_logits(stream, "left?").isfinite().all())


def test_lazy_and_eager_agree_until_the_first_eviction(adapter: Adapter) -> None:
    logits = []
    for reindex in ("lazy", "eager"):
        stream = open_direct(adapter, Hermes(budget=100, reindex=reindex), chunk_frames=4)
        watch_direct(stream, make_frames(8), 4)
        logits.append(question_logits(stream, "left?"))
    assert torch.equal(*logits)
