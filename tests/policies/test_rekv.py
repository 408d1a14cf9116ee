"""ReKV: its specification's example, random streams against the oracle, and its limit cases.

Shape letters: K key/value heads, H query heads, T tokens, D head dimension.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.layout import lay_out
from hermes_stream.memory.recall import Recalled
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.sliding_window import SlidingWindow

from ..oracles import retrieval_oracle as oracle
from .harness import HEAD_DIM, HEADS, FakeStream, append, visual_tokens
from .recalling import asked_in, recalled_frames
from .test_sampling import held_identities, stream_of

EXAMPLE_KEYS = [(1.0, 0.0), (0.0, 2.0), (4.0, 4.0), (3.0, 0.0), (0.0, 1.0)]


def example(options: dict[str, Any], n_archived: int) -> tuple[FakeStream, Recalled]:
    """Five frames of one token behind two of the prefix, all but the last ones archived, and what is recalled."""
    stream = FakeStream(ReKV(**options), n_layers=2, tokens_per_frame=1, prefix_tokens=2)
    for frame, key in enumerate(EXAMPLE_KEYS):
        raw_KTD = torch.tensor(key).expand(HEADS, 1, HEAD_DIM)
        append(stream.memory, stream.memory.begin_vision(visual_tokens(1, 1, frame), frame), raw_KTD, raw_KTD)
        if frame < n_archived:
            plan, stream.state = stream.policy.after_chunk(stream.view(), stream.state)
            stream.memory.apply(plan)
    query_HTD = torch.tensor([1.0, 0.0]).expand(HEADS, 1, HEAD_DIM)
    return stream, stream.policy.recall(1, asked_in(stream, 1, query_HTD), stream.state)


@pytest.mark.parametrize("n_archived", [0, 3, 4, 5])
@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"similarity": "dot"}, [2, 3]),
        ({"similarity": "cosine"}, [0, 3]),
        ({"similarity": "dot", "group": 2}, [2, 3]),
        ({"similarity": "cosine", "group": 2}, [2, 3]),
        ({"similarity": "dot", "recent": 1}, [2, 4]),
        ({"recent": 2}, [3, 4]),
        ({"frames": 5}, [0, 1, 2, 3, 4]),
        ({"frames": 64}, [0, 1, 2, 3, 4]),
    ],
)
def test_the_specifications_example(options: dict[str, Any], frames: list[int], n_archived: int) -> None:
    """Whatever of it is archived yet."""
    stream, recalled = example({"budget": 2, **options}, n_archived)
    assert recalled_frames(stream, 1, recalled) == frames


def test_the_specifications_positions() -> None:
    """Frames 2 and 3 stand at 2 and 3, right behind the prefix."""
    stream, recalled = example({"budget": 2, "similarity": "dot"}, 5)
    assert recalled.archive_rows is not None
    table = stream.memory.current.layers[1].archive.table.select(recalled.archive_rows)
    assert lay_out(table, stream.prefix_tokens, stream.memory.shape).tolist() == [[2, 3]]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    n_waiting=st.integers(0, 2),
    similarity=st.sampled_from(["cosine", "dot"]),
    runs=st.integers(1, 3),
    group=st.integers(1, 3),
    recent=st.integers(0, 3),
)
def test_frames_are_the_oracles(
    seed: int, sizes: list[int], n_waiting: int, similarity: str, runs: int, group: int, recent: int
) -> None:
    """Layers choose for themselves, by all keys since the beginning; two query heads share a key/value head."""
    policy = ReKV(budget=6, similarity=similarity, group=group, recent=recent, frames=recent + runs * group)
    stream = FakeStream(policy, n_layers=2, seed=seed)
    keys_L: list[list[torch.Tensor]] = [[], []]
    for n_frames in sizes:
        stream.advance(n_frames)
    if n_waiting:
        stream._ingest(n_waiting)
    for layer, of_layer in enumerate(stream.memory.current.layers):
        archived, _ = of_layer.archive.read(None, torch.device("cpu"))
        held = stream.view().layers[layer].tensors.raw_keys_KND
        key_KND = torch.cat((archived, held[:, held.shape[1] - 3 * n_waiting :]), dim=1)
        keys_L[layer] = list(key_KND.split(3, dim=1))
    query_HTD = torch.randn(2 * HEADS, 4, HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    for layer in range(2):
        query = oracle.question(query_HTD.tolist())
        vectors = [oracle.representative(frame_KND.tolist(), 2 * HEADS) for frame_KND in keys_L[layer]]
        scores = [oracle.score(query, vector, similarity) for vector in vectors]
        recalled = policy.recall(layer, asked_in(stream, layer, query_HTD), stream.state)
        expected = oracle.frames_recalled(scores, recent + runs * group, group, recent)
        assert recalled_frames(stream, layer, recalled) == expected


def test_every_frame_is_archived_once_and_the_window_slides() -> None:
    """Exact archives hold two numbers for each key/value head and channel of a token and layer."""
    ours, window = (
        stream_of(policy, 30, tokens_per_frame=3, chunk=4) for policy in (ReKV(budget=12), SlidingWindow(budget=12))
    )
    assert held_identities(ours) == held_identities(window)
    for layer in ours.memory.current.layers:
        assert (layer.archive.table.identity_HN[0] - ours.prefix_tokens).tolist() == list(range(90))
    n_bytes = torch.float32.itemsize
    assert ours.memory.current.archive_bytes() == 2 * ours.n_layers * 90 * HEADS * HEAD_DIM * n_bytes


def test_a_question_before_the_first_frame_recalls_nothing() -> None:
    stream = FakeStream(ReKV(budget=12))
    query_HTD = torch.ones(HEADS, 1, HEAD_DIM)
    assert recalled_frames(stream, 0, stream.policy.recall(0, asked_in(stream, 0, query_HTD), stream.state)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recent": 5}, "recent=5 does not fit the 4 frames"),
        ({"group": 5}, "group=5 does not fit the 4 frames .* beside 0 recent"),
        ({"group": 2, "recent": 3}, "group=2 does not fit the 1 frames .* beside 3 recent"),
    ],
)
def test_options_that_leave_nothing_to_recall_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        ReKV(budget=12, **options).start(StreamFacts(n_layers=2, tokens_per_frame=3, family="any"))
