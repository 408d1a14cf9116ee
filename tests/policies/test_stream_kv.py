"""StreamKV as a policy: what each segment leaves in the archive, what a question recalls, and the limit case.

Shape letters: H query heads, T tokens of a question, K key/value heads, N rows, D head dimension, E model width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PlanError
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.stream_kv import StreamKV

from ..oracles.stream_kv_oracle import counts_by_halving, masses, segments
from .harness import HEAD_DIM, HEADS, append_frames, append_prefix, empty_memory, feature_view

N_LAYERS, N_PREFIX, PER_FRAME = 3, 2, 3
FACTS = StreamFacts(N_LAYERS, PER_FRAME, "any", prefix_tokens=N_PREFIX)


class Stream:
    """Frames with features of one's own, and a guidance text that asks for something of each layer."""

    def __init__(self, policy: StreamKV, seed: int = 0) -> None:
        self.policy, self.state = policy, policy.start(FACTS)
        self.memory = empty_memory(N_LAYERS, archive=ArchiveSettings())
        append_prefix(self.memory, N_PREFIX)
        self.generator = torch.Generator().manual_seed(seed)
        self.guide_LHD = torch.randn(N_LAYERS, 2 * HEADS, HEAD_DIM, generator=self.generator)
        # Every frame's mean key in every layer, as it came.
        self.mean_keys: list[list[list[float]]] = []

    def watch(self, features: Sequence[torch.Tensor]) -> None:
        first = self.memory.current.frames_seen
        self.append(len(features))
        plan, self.state = self.policy.after_chunk(self.view(first, features), self.state)
        self.memory.apply(plan)
        self.memory.check_invariants()

    def append(self, n_frames: int) -> None:
        """Frames of an interval that has not ended."""
        append_frames(self.memory, n_frames, PER_FRAME, self.generator)
        layers = self.view().layers
        for index in range(n_frames):
            row = layers[0].n_rows - (n_frames - index) * PER_FRAME
            keys = [layer.tensors.raw_keys_KND[:, row : row + PER_FRAME] for layer in layers]
            self.mean_keys.append([key_KND.mean(dim=1).tolist() for key_KND in keys])

    def view(self, first: int = 0, features: Sequence[torch.Tensor] = ()) -> MemoryView:
        version = self.memory.current
        layers = tuple(
            LayerView.of(layer, N_PREFIX, self.memory.rope, {}, {"guide": guide_HD})
            for layer, guide_HD in zip(version.layers, self.guide_LHD, strict=True)
        )
        view = MemoryView(layers, self.policy.budget_tokens, version.frames_seen, 0.0, version.next_position, PER_FRAME)
        return replace(view, encoded=feature_view(torch.stack(features), PER_FRAME, first)) if features else view

    def ask(self, query_LHTD: torch.Tensor) -> list[Recalled]:
        """What the answer sees in each layer."""
        asked = [
            Asked(query_HTD, query_HTD, layer.archive, view)
            for query_HTD, layer, view in zip(query_LHTD, self.memory.current.layers, self.view().layers, strict=True)
        ]
        recalled = [self.policy.recall(layer, one, self.state) for layer, one in enumerate(asked)]
        return list(self.policy.settle(asked, recalled, self.state))

    def archived_frames(self, layer: int) -> list[int]:
        """Frames of the archive, one by one; -1 - f for a mean frame that ends with frame f."""
        archive = self.memory.current.layers[layer].archive
        if archive.n_rows == 0:
            return []
        frame_N, kind_N = archive.table.frame_HN[0], archive.table.kind_HN[0]
        number_N = torch.where(kind_N == TokenKind.SUMMARY, -1 - frame_N, frame_N)
        return number_N[::PER_FRAME].tolist()


def cosine_scores(query_HTD: torch.Tensor, mean_keys: list[list[list[float]]]) -> list[float]:
    """Mean query, heads one after the other, with each frame's mean key, repeated for the heads that share it."""
    query = query_HTD.mean(dim=1).flatten().tolist()
    group = query_HTD.shape[0] // HEADS
    scores = []
    for heads in mean_keys:
        key = [x for head in heads for _ in range(group) for x in head]
        dot = sum(q * k for q, k in zip(query, key, strict=True))
        scores.append(dot / (math.hypot(*query) * math.hypot(*key)))
    return scores


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    budget_frames=st.integers(1, 14),
    keep=st.sampled_from([0.2, 0.4, 1.0]),
    summary=st.booleans(),
)
def test_segments_leave_their_best_frames_and_a_mean(
    seed: int, sizes: list[int], budget_frames: int, keep: float, summary: bool
) -> None:
    """Against lists: the oldest segments leave until the rest fits; each leaves its own best frames in each layer."""
    budget = budget_frames * PER_FRAME + seed % PER_FRAME
    stream = Stream(StreamKV(budget=budget, keep=keep, summary=summary, similarity=0.3, spread=1e9), seed)
    most = max(min(64, budget_frames // 2), 1)
    feature_FE = torch.randn(sum(sizes), 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    runs_all = segments(feature_FE.tolist(), 0.3, min(4, most), most)
    archived: list[list[int]] = [[] for _ in range(N_LAYERS)]
    n_seen, first_held = 0, 0
    for n_frames in sizes:
        stream.watch(list(feature_FE[n_seen : n_seen + n_frames]))
        n_seen += n_frames
        runs = [[frame for frame in run if frame < n_seen] for run in runs_all if run[0] < n_seen]
        leaving = []
        for run in runs:
            if run[0] >= first_held and (n_seen - first_held) * PER_FRAME > budget:
                leaving.append(run)
                first_held = run[-1] + 1
        assert first_held < n_seen, "an open segment has at most half of the budget's frames"
        for run in leaving:
            scores = [
                cosine_scores(stream.guide_LHD[layer][:, None], [stream.mean_keys[f][layer] for f in run])
                for layer in range(N_LAYERS)
            ]
            total = max(round(keep * len(run) * N_LAYERS), N_LAYERS)
            counts = counts_by_halving([masses(one) for one in scores], total)
            for layer, (one, n) in enumerate(zip(scores, counts, strict=True)):
                best = sorted(range(len(run)), key=lambda i: -one[i])[:n]
                archived[layer] += [run[i] for i in sorted(best)]
        for layer in range(N_LAYERS):
            archived[layer] += [-1 - run[-1] for run in leaving if summary and len(run) > 1]
            assert stream.archived_frames(layer) == archived[layer]
        held_N = stream.memory.current.layers[0].table.frame_HN[0, N_PREFIX:]
        assert held_N[::PER_FRAME].tolist() == list(range(first_held, n_seen))


def scenes(*lengths: int) -> list[torch.Tensor]:
    """Features of scenes that have nothing in common."""
    return [torch.eye(len(lengths))[scene] for scene, length in enumerate(lengths) for _ in range(length)]


def test_a_mean_frame_is_the_mean_of_its_segment() -> None:
    stream = Stream(StreamKV(budget=30, keep=0.2))
    features = scenes(5, 4, 4)
    append_frames(stream.memory, len(features), PER_FRAME, stream.generator)
    view = stream.view(0, features)
    keys = [layer.tensors.raw_keys_KND[:, : 5 * PER_FRAME].clone() for layer in view.layers]
    plan, _ = stream.policy.after_chunk(view, stream.state)
    stream.memory.apply(plan)
    for layer, key_KND in zip(stream.memory.current.layers, keys, strict=True):
        rows_N = (layer.archive.table.kind_HN[0] == TokenKind.SUMMARY).nonzero()[:, 0]
        mean_KND, _ = layer.archive.read(rows_N, torch.device("cpu"))
        expected = key_KND.reshape(HEADS, 5, PER_FRAME, HEAD_DIM).mean(dim=1)
        torch.testing.assert_close(mean_KND, expected, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), frames=st.integers(1, 6), n_waiting=st.integers(0, 2))
def test_a_question_recalls_by_the_rule_over_archive_and_memory(seed: int, frames: int, n_waiting: int) -> None:
    """Without mean frames: the best frames of each layer, of those that were archived or are held."""
    stream = Stream(StreamKV(budget=30, keep=0.4, summary=False, frames=frames, spread=1e9), seed)
    stream.watch(scenes(5, 4, 5))
    if n_waiting:
        stream.append(n_waiting)
    query_LHTD = torch.randn(N_LAYERS, 2 * HEADS, 4, HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    candidates = [stream.archived_frames(layer) + list(range(5, 14 + n_waiting)) for layer in range(N_LAYERS)]
    scores = [
        cosine_scores(query_LHTD[layer], [stream.mean_keys[frame][layer] for frame in candidates[layer]])
        for layer in range(N_LAYERS)
    ]
    counts = counts_by_halving([masses(one) for one in scores], frames * N_LAYERS)
    for layer, recalled in enumerate(stream.ask(query_LHTD)):
        best = sorted(range(len(scores[layer])), key=lambda i: -scores[layer][i])[: counts[layer]]
        assert seen_frames(stream, layer, recalled) == [candidates[layer][i] for i in sorted(best)]


def seen_frames(stream: Stream, layer: int, recalled: Recalled) -> list[int]:
    of_layer = stream.memory.current.layers[layer]
    assert recalled.archive_rows is not None
    assert recalled.held_rows is not None
    archived_N = of_layer.archive.table.frame_HN[0, recalled.archive_rows]
    held_N = of_layer.table.frame_HN[0, recalled.held_rows + N_PREFIX]
    frames = torch.cat((archived_N, held_N)).tolist()
    assert all(frames[i] == frames[i - i % PER_FRAME] for i in range(len(frames))), "a frame is not whole"
    return frames[::PER_FRAME]


def test_everything_kept_and_everything_asked_for_is_everything() -> None:
    """Limit case: full recall."""
    stream = Stream(StreamKV(budget=30, keep=1.0, summary=False, frames=100))
    stream.watch(scenes(5, 4, 5))
    stream.watch(scenes(3, 4))
    for layer, recalled in enumerate(stream.ask(torch.ones(N_LAYERS, 2 * HEADS, 1, HEAD_DIM))):
        assert seen_frames(stream, layer, recalled) == list(range(21))


def test_a_question_before_the_first_frame_recalls_nothing() -> None:
    for recalled in Stream(StreamKV(budget=30)).ask(torch.ones(N_LAYERS, 2 * HEADS, 1, HEAD_DIM)):
        assert recalled.archive_rows is None or recalled.archive_rows.numel() == 0
        assert recalled.held_rows is None or recalled.held_rows.numel() == 0


def test_the_guide_is_read_only_when_something_leaves() -> None:
    policy = StreamKV(budget=30)
    assert policy.probes([30] * N_LAYERS, (), FACTS) == ()
    (probe,) = policy.probes([31] * N_LAYERS, (), FACTS)
    assert (probe.wants, probe.layers) == ("query", range(N_LAYERS))


def test_a_view_without_the_guide_is_refused() -> None:
    stream = Stream(StreamKV(budget=6))
    append_frames(stream.memory, 3, PER_FRAME, stream.generator)
    view = stream.view(0, scenes(3))
    blind = replace(view, layers=tuple(replace(layer, query={}) for layer in view.layers))
    with pytest.raises(PlanError, match="needs the query of its guidance text"):
        stream.policy.after_chunk(blind, stream.state)
