"""StreamingTOM's memory: how many groups are recalled, by the oracle's scores, and what four bits keep.

Shape letters: K key/value heads, H query heads, T tokens, D head dimension.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.streaming_tom import StreamingTOM

from .harness import HEAD_DIM, HEADS, FakeStream
from .recalling import asked_in, recalled_frames
from .test_sampling import stream_of


@pytest.mark.parametrize(
    ("budget", "tokens_per_frame", "n_groups"),
    [(4800, 50, 251), (4800, 196, 64), (6, 3, 6), (3, 3, 3)],
)
def test_as_many_groups_as_the_source_for_its_window(budget: int, tokens_per_frame: int, n_groups: int) -> None:
    """251 groups of 50 tokens; 64 frames of 196, as in ReKV: 12,544 tokens both, for a window of 4,800."""
    policy = StreamingTOM(budget=budget)
    facts = StreamFacts(n_layers=2, tokens_per_frame=tokens_per_frame, family="any")
    assert policy.seen_rows(facts) == n_groups * tokens_per_frame


@pytest.mark.parametrize(("options", "n_frames"), [({}, 8), ({"groups": 2}, 2), ({"groups": 64}, 20)])
def test_frames_that_a_front_end_made_smaller_are_more(options: dict[str, Any], n_frames: int) -> None:
    """The stream promised three tokens a frame, and brings two."""
    stream = FakeStream(StreamingTOM(budget=6, **options), n_layers=1, tokens_per_frame=3)
    stream.tokens_per_frame = 2
    for _ in range(5):
        stream.advance(4)
    recalled = stream.policy.recall(0, asked_in(stream, 0, torch.ones(HEADS, 1, HEAD_DIM)), stream.state)
    assert len(recalled_frames(stream, 0, recalled)) == n_frames


@pytest.mark.parametrize("seed", range(5))
def test_frames_are_rekvs_by_cosine(seed: int) -> None:
    """The mean key is that of the exact keys, so that quantising them changes no choice."""
    query_HTD = torch.randn(2 * HEADS, 3, HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    found = []
    for policy in (StreamingTOM(budget=6), ReKV(budget=6, frames=6)):
        stream = stream_of(policy, 23, tokens_per_frame=3, seed=seed, chunk=3)
        found.append(
            [
                recalled_frames(stream, layer, policy.recall(layer, asked_in(stream, layer, query_HTD), stream.state))
                for layer in range(2)
            ]
        )
    assert found[0] == found[1]
    assert [len(frames) for frames in found[0]] == [6, 6]


def test_four_bits_by_frame_and_channel() -> None:
    """No number is further from the true one than half a step of its frame and channel, minima and scales in half."""
    exact, coarse = (stream_of(StreamingTOM(budget=6, bits=bits), 9, tokens_per_frame=3, chunk=3) for bits in (16, 4))
    for one, other in zip(exact.memory.current.layers, coarse.memory.current.layers, strict=True):
        for truth_KND, ours_KND in zip(*(a.archive.read(None, torch.device("cpu")) for a in (one, other)), strict=True):
            frames = truth_KND.unflatten(1, (-1, 3))
            step = (frames.amax(dim=2, keepdim=True) - frames.amin(dim=2, keepdim=True)) / 15
            error = (ours_KND.unflatten(1, (-1, 3)) - frames).abs()
            assert bool((error <= step / 2 + 0.01).all())
            assert bool((error > 0).any())


def test_it_starts_like_any_policy() -> None:
    state = StreamingTOM(budget=6).start(StreamFacts(n_layers=2, tokens_per_frame=3, family="any"))
    assert state.n_frames == 0
    stream = FakeStream(StreamingTOM(budget=6))
    query_HTD = torch.ones(HEADS, 1, HEAD_DIM)
    assert recalled_frames(stream, 0, stream.policy.recall(0, asked_in(stream, 0, query_HTD), stream.state)) == []
