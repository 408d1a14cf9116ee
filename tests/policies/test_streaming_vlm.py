"""StreamingVLM's cache: seconds of vision, head and tail of text, positions without gaps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Positions
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.streaming_vlm import StreamingVLM
from hermes_stream.types import VisualTokens
from tests.engine.direct import open_direct, watch_direct
from tests.tiny import make_frames, save_checkpoint

from ..oracles.eviction_oracle import Row, laid_out_afresh, streaming_vlm_keeps
from .harness import append, append_prefix, empty_memory
from .test_sampling import stream_of

N_LAYERS, N_PREFIX = 2, 1
BEFORE, CELLS, AFTER = 2, 3, 1
PER_FRAME = BEFORE + CELLS + AFTER


def announced_frames(seconds: list[float]) -> VisualTokens:
    """Frames of three cells between two text tokens and one, as Qwen3-VL has them, in one dimension."""
    n, n_frames = len(seconds) * PER_FRAME, len(seconds)
    place_N = torch.arange(n) % PER_FRAME
    is_text_N = (place_N < BEFORE) | (place_N >= BEFORE + CELLS)
    return VisualTokens(
        embeddings_NE=torch.zeros(n, 3),
        positions_RN=torch.arange(n)[None],
        n_positions=n,
        frame_N=torch.arange(n_frames).repeat_interleave(PER_FRAME),
        row_N=torch.where(is_text_N, -1, 0),
        column_N=torch.where(is_text_N, -1, place_N - BEFORE),
        times_seconds_N=torch.tensor(seconds, dtype=torch.float64).repeat_interleave(PER_FRAME),
        n_frames=n_frames,
        n_grids=n_frames,
        is_text_N=is_text_N,
    )


class Watched:
    """A memory under the policy, and what it has seen as rows for the oracle."""

    def __init__(self, policy: StreamingVLM) -> None:
        self.policy = policy
        self.memory: KVMemory = empty_memory(N_LAYERS, [policy.budget_tokens or 0] * N_LAYERS, n_heads=1)
        append_prefix(self.memory, N_PREFIX)
        self.rows: list[Row] = []

    def watch(self, seconds: list[float]) -> None:
        tokens, first = announced_frames(seconds), self.memory.current.frames_seen
        zeros_KTD = torch.zeros(1, len(seconds) * PER_FRAME, 2)
        append(self.memory, self.memory.begin_vision(tokens, seconds[-1]), zeros_KTD, zeros_KTD)
        columns = tokens.frame_N.tolist(), tokens.times_seconds_N.tolist(), (tokens.row_N < 0).tolist()
        self.rows += [
            Row(len(self.rows) + index, first + frame, when, is_text)
            for index, (frame, when, is_text) in enumerate(zip(*columns, strict=True))
        ]
        version = self.memory.current
        layers = tuple(LayerView.of(layer, N_PREFIX, self.memory.rope, {}) for layer in version.layers)
        view = MemoryView(layers, None, version.frames_seen, seconds[-1], version.next_position, PER_FRAME)
        plan, _ = self.policy.after_chunk(view, None)
        self.memory.apply(plan)
        self.memory.check_invariants()

    @property
    def held(self) -> list[int]:
        return (self.memory.current.layers[0].table.identity_HN[0, N_PREFIX:] - N_PREFIX).tolist()


def test_context_and_positions_saturate() -> None:
    """The specification's check, small: four seconds at one frame a second, head 2, tail 3."""
    watched = Watched(StreamingVLM(budget=100, seconds=4, text_head=2, text_tail=3))
    ends = []
    for second in range(12):
        watched.watch([float(second)])
        ends.append(watched.memory.current.next_position - N_PREFIX)
    whole = [6, 12, 18, 24]
    # Of each frame that leaves, its three text rows stay at first; then the middle of the text goes.
    assert ends == [*whole, 24 + 3, *[24 + 5] * 7]
    text, window = watched.held[:5], watched.held[5:]
    assert text == [0, 1, 42, 43, 47]
    assert window == list(range(48, 72))
    position_N = watched.memory.current.layers[1].table.position_RHN[0, 0]
    assert position_N.tolist() == list(range(N_PREFIX + 29))


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=4), min_size=1, max_size=8),
    budget=st.integers(PER_FRAME, 60),
    seconds=st.sampled_from([0.25, 2.0, 5.0, 1000.0]),
    head=st.integers(0, 4),
    tail=st.integers(0, 4),
)
def test_any_stream_equals_the_oracle(
    gaps: list[list[float]], budget: int, seconds: float, head: int, tail: int
) -> None:
    policy = StreamingVLM(budget=budget, seconds=seconds, text_head=head, text_tail=tail)
    watched, now, held = Watched(policy), 0.0, list[int]()
    most = (budget - PER_FRAME) // 4
    for interval in gaps:
        times = []
        for gap in interval:
            now += gap
            times.append(now)
        n_before = len(watched.rows)
        watched.watch(times)
        rows = [watched.rows[number] for number in [*held, *range(n_before, len(watched.rows))]]
        bounds = {"head": min(head, most), "tail": min(tail, most)}
        text, window = streaming_vlm_keeps(rows, budget=budget, seconds=seconds, **bounds)
        held = text + window
        assert watched.held == held
        position_N = watched.memory.current.layers[0].table.position_RHN[0, 0, N_PREFIX:]
        assert position_N.tolist() == list(range(N_PREFIX, N_PREFIX + len(held)))


def test_without_text_and_end_of_time_it_is_a_compact_window() -> None:
    """Limit case: the budget alone bounds it."""
    ours = stream_of(StreamingVLM(budget=7, seconds=1e6), 12, tokens_per_frame=2, chunk=3)
    window = stream_of(SlidingWindow(budget=7, positions=Positions.COMPACT), 12, tokens_per_frame=2, chunk=3)
    for a, b in zip(ours.memory.current.layers, window.memory.current.layers, strict=True):
        assert a.table.data_CHN.equal(b.table.data_CHN)
        assert a.keys.equal(b.keys)


def test_an_eviction_by_seconds_alone_closes_up_too() -> None:
    stream = stream_of(StreamingVLM(budget=1000, seconds=2), 9, tokens_per_frame=2)
    table = stream.memory.current.layers[0].table
    assert table.frame_HN[0, 1:].tolist() == [5, 5, 6, 6, 7, 7, 8, 8]
    assert table.position_RHN[0, 0].tolist() == list(range(9))


@pytest.mark.parametrize("budget", [64, 1000])
def test_qwen3_positions_are_those_of_what_is_held_laid_out_afresh(tmp_path: Path, budget: int) -> None:
    """Text of frames long gone, then whole frames: contiguous on all three axes, after any number of evictions."""
    adapter = load_adapter(str(save_checkpoint("qwen3_vl", tmp_path / "model")))
    policy = StreamingVLM(budget=max(budget, 2 * adapter.facts.tokens_per_frame), seconds=4, text_head=7, text_tail=9)
    stream = open_direct(adapter, policy, chunk_frames=4)
    watch_direct(stream, make_frames(24), 4)
    assert stream.n_compressions >= 3
    version = stream.memory.current
    table = version.layers[0].table.slice(version.n_prefix)
    assert (table.row_HN[0] < 0).sum() > 9, "no text of evicted frames is held"
    cells = list(zip(*(column[0].tolist() for column in (table.frame_HN, table.row_HN, table.column_HN)), strict=True))
    expected = laid_out_afresh(cells, version.n_prefix)
    assert list(zip(*table.position_RHN[:, 0].tolist(), strict=True)) == expected
    assert version.next_position == max(max(position) for position in expected) + 1


def test_qwen2_5_time_starts_at_the_window_and_keeps_its_seconds(tmp_path: Path) -> None:
    """Two positions a second, two frames a grid at one frame a second; rows and columns stay."""
    adapter = load_adapter(str(save_checkpoint("qwen2_5_vl", tmp_path / "model")))
    stream = open_direct(adapter, StreamingVLM(budget=1000, seconds=8), chunk_frames=4)
    watch_direct(stream, make_frames(24), 4)
    version = stream.memory.current
    table = version.layers[0].table.slice(version.n_prefix)
    grid_N = table.frame_HN[0] - table.frame_HN[0, 0]
    assert grid_N[-1] == 3
    expected_RN = torch.stack((4 * grid_N, table.row_HN[0], table.column_HN[0])) + version.n_prefix
    assert torch.equal(table.position_RHN[:, 0], expected_RN)
