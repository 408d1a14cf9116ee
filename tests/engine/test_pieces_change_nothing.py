"""Law 4 where positions run out: they are closed up at the same frame, however the stream is cut into pieces."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hermes_stream import Frame
from hermes_stream.engine.stream import Stream
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from tests.tiny import make_frames, save_checkpoint

from .direct import open_direct, watch_direct

N_FRAMES = 48
# Compactions of two kinds, a front-end, frames that wait as features, archived rows that positions do not reach.
MEMORIES = [
    "hermes",
    "hermes(compaction=ranks)",
    "dtd | sliding-window",
    "uniform + fresh(frames=2)",
    "tiered",
]


@pytest.fixture(scope="module", params=["llava_onevision", "qwen2_5_vl"])
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """Few positions, and rounding out of the way."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    save_checkpoint(request.param, folder, num_hidden_layers=3, max_position_embeddings=160)
    return load_adapter(str(folder), dtype="float64")


def frames_at(steps: list[int]) -> list[Frame]:
    """Frames with so many seconds between them, and twice a minute."""
    images = [frame.image_YXC for frame in make_frames(16)]
    seconds = accumulate([*steps[:20], 60, *steps[20:40], 60, *steps[40:]], initial=0)
    return [Frame(float(at), images[index % 16]) for index, at in enumerate(seconds)]


def watched(adapter: Adapter, memory: str, frames: list[Frame], pieces: list[int]) -> tuple[Stream, int]:
    """A stream that saw the frames, in pieces of these sizes over and over; and how often positions were closed up."""
    policy = parse_memory(memory).with_budget(4 * adapter.facts.tokens_per_frame)
    stream, start, n_compactions = open_direct(adapter, policy, chunk_frames=4), 0, 0
    while start < len(frames):
        for size in pieces:
            before = stream.memory.current.next_position
            watch_direct(stream, frames[start : start + size], size)
            n_compactions += stream.memory.current.next_position < before
            start += size
    return stream, n_compactions


@pytest.mark.parametrize("memory", MEMORIES)
# Not shrunk: 48 frames, watched three times, would be tried for minutes, and no fewer say more.
@settings(max_examples=2, deadline=None, phases=[Phase.generate])
@given(
    pieces=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    steps=st.lists(st.sampled_from([1, 2, 5]), min_size=N_FRAMES - 3, max_size=N_FRAMES - 3),
)
def test_positions_run_out_at_the_same_frame(
    adapter: Adapter, memory: str, pieces: list[int], steps: list[int]
) -> None:
    frames = frames_at(steps)
    whole, _ = watched(adapter, memory, frames, [N_FRAMES])
    one_by_one, n_compactions = watched(adapter, memory, frames, [1])
    cut, _ = watched(adapter, memory, frames, pieces)
    assert n_compactions
    for other in (one_by_one, cut):
        for ours, theirs in zip(other.memory.current.layers, whole.memory.current.layers, strict=True):
            assert torch.equal(ours.table.data_CHN, theirs.table.data_CHN)
            torch.testing.assert_close(ours.keys, theirs.keys, atol=1e-9, rtol=0)
            torch.testing.assert_close(ours.values, theirs.values, atol=1e-9, rtol=0)
        assert torch.equal(other.memory.current.features.table.data_CHN, whole.memory.current.features.table.data_CHN)
