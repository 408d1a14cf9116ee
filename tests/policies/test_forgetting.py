"""What policies remember once frames are forgotten: what they would have made of the frames that are left, or nothing.

Shape letters: S sets of clusters, N rows, E model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import archived_keys
from hermes_stream.memory.removal import shown_within
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import Policy, StreamFacts
from hermes_stream.policies.cache_flow import CacheFlow
from hermes_stream.policies.causal_mem import CausalMem
from hermes_stream.policies.event_forest import EventForest
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.gate import Gate
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.savemem import SAVEMem
from hermes_stream.policies.segments import CutRule, Segments
from hermes_stream.policies.stream_kv import StreamKV
from hermes_stream.policies.v_rex import VRex

from .contract import is_same
from .feature_stream import COLUMNS, ROWS, FeatureStream, features, moving_pictures
from .harness import FakeStream
from .recalling import asked_in, recalled_frames, recalled_tokens

forgotten_frames = st.tuples(st.integers(0, 11), st.integers(1, 5)).map(lambda one: range(one[0], one[0] + one[1]))


def watched(policy: Policy, sizes: list[int], *, block: int | None = None, **options: Any) -> FakeStream:
    """block: rows of CacheFlow's blocks, which then reach over frames."""
    stream = FakeStream(policy, n_layers=3, **options)
    if block is not None:
        stream.state = replace(stream.state, block=block)
    for n_frames in sizes:
        stream.advance(n_frames)
    return stream


@settings(max_examples=25, deadline=None)
@given(frames=forgotten_frames, budget=st.integers(4, 12), tokens_per_frame=st.integers(2, 5))
def test_groups_of_rows_have_the_mean_of_what_is_left_of_them(
    frames: range, budget: int, tokens_per_frame: int
) -> None:
    """CacheFlow's blocks reach over frames and may lose a part; ReKV's frames go as a whole."""
    policies = (CacheFlow(budget=max(budget, tokens_per_frame)), ReKV(budget=max(budget, tokens_per_frame)))
    for policy in policies:
        block = 4 if isinstance(policy, CacheFlow) else None
        stream = watched(policy, [3, 4, 5], block=block, tokens_per_frame=tokens_per_frame)
        before = torch.cat(stream.state.index.sizes)
        group_of = torch.arange(before.numel()).repeat_interleave(before)
        removal = stream.forget(frames)
        left_of = group_of[removal.archive_rows_L[0]].tolist()
        index, version = stream.state.index, stream.memory.current
        layers = (0, 2) if isinstance(policy, CacheFlow) else (0, 1, 2)
        groups = sorted(set(left_of))
        assert [int(n) for size_G in index.sizes for n in size_G] == [left_of.count(group) for group in groups]
        for place, layer in enumerate(layers):
            if not groups:
                break
            keys_KND = archived_keys(version, layer, stream.memory.rope, rotated=False)
            for number, group in enumerate(groups):
                rows = [row for row, of in enumerate(left_of) if of == group]
                mean_KD = torch.cat(index.means, dim=1)[place, number]
                torch.testing.assert_close(mean_KD, keys_KND[:, rows].mean(dim=1))


def test_a_question_finds_the_right_rows_after_some_were_forgotten() -> None:
    """The index and the archive go on to agree: what is named is what was meant."""
    stream = watched(ReKV(budget=6, frames=2), [4, 4, 4], tokens_per_frame=3)
    stream.forget(range(3, 6))
    stream.advance(2)
    layer = 1
    keys_KND = archived_keys(stream.memory.current, layer, stream.memory.rope, rotated=False)
    frame_N = stream.memory.current.layers[layer].archive.table.frame_HN[0]
    for frame in (1, 7, 12):
        # A query that is a frame's own mean key, once for each of the heads that share it.
        mean_KD = keys_KND[:, frame_N == frame].mean(dim=1)
        recalled = stream.policy.recall(layer, asked_in(stream, layer, mean_KD[:, None]), stream.state)
        assert frame in recalled_frames(stream, layer, recalled)


def test_blocks_that_lost_a_part_are_recalled_as_far_as_they_left_the_window() -> None:
    stream = watched(CacheFlow(budget=6, blocks=99), [4, 4, 4], block=5, tokens_per_frame=4)
    stream.forget(range(2, 3))
    assert len({int(n) for size_B in stream.state.index.sizes for n in size_B}) > 1
    asked = [asked_in(stream, layer, torch.randn(4, 2, 2)) for layer in range(3)]
    recalled = stream.policy.settle(
        asked, [stream.policy.recall(i, one, stream.state) for i, one in enumerate(asked)], stream.state
    )
    held = (stream.view().layers[0].identity_N - stream.prefix_tokens).tolist()
    assert recalled_tokens(stream, 0, recalled[0]) == [row for row in range(48) if row // 4 != 2 and row < held[0]]


def test_an_empty_window_hides_no_block() -> None:
    """Whatever is archived is older than what is not held."""
    stream = watched(CacheFlow(budget=8, blocks=9), [4, 4], tokens_per_frame=4)
    stream.memory.apply(Plan.same_rows(torch.arange(0), 3))
    asked = [asked_in(stream, layer, torch.randn(4, 2, 2)) for layer in range(3)]
    settled = stream.policy.settle(
        asked, [stream.policy.recall(i, one, stream.state) for i, one in enumerate(asked)], stream.state
    )
    assert recalled_tokens(stream, 0, settled[0]) == list(range(32))


@settings(max_examples=25, deadline=None)
@given(frames=forgotten_frames, keys=st.sampled_from(["raw", "rotated"]))
def test_clusters_are_those_of_the_rows_that_are_left(frames: range, keys: Any) -> None:
    """As if the others had never been archived."""
    stream = watched(VRex(budget=6, keys=keys), [3, 4, 5], tokens_per_frame=3)
    stream.forget(frames)
    version, policy = stream.memory.current, stream.policy
    n_left = version.archived_tokens[0]
    if not n_left:
        assert stream.state.clusters is None
        return
    fresh = policy.start(stream.facts)
    assert isinstance(policy, VRex)
    found = [archived_keys(version, layer, stream.memory.rope, rotated=keys == "rotated") for layer in range(3)]
    assert is_same(stream.state, policy._clustered(found, fresh))
    assert stream.state.clusters.member_SN.shape == (3 * 2, n_left)


WIDTH = 8


def apart(n_frames: int, hidden: range, seed: int) -> torch.Tensor:
    """Frames that move in all directions but the last, and hidden ones that lie along it alone."""
    frames_NE = moving_pictures(n_frames, WIDTH, torch.Generator().manual_seed(seed)).view(n_frames, -1, WIDTH)
    frames_NE[..., -1] = 0
    frames_NE[hidden.start : hidden.stop, :, :-1] = 0
    frames_NE[hidden.start : hidden.stop, :, -1] = 1
    return frames_NE.flatten(0, 1)


def forget(stream: FeatureStream, frames: range) -> None:
    """Two frames a second, as the stream shows them."""
    removal = stream.memory.remove(shown_within(frames.start / 2, frames.stop / 2), forgets=True)
    forgetting = Forgetting(frames, removal.archive_rows_L, stream.view, lambda layer, rotated: torch.empty(0))
    stream.state = stream.policy.forget(stream.state, forgetting, stream.facts)


@pytest.mark.parametrize("n_words", [0, 2])
def test_a_basis_forgets_directions(n_words: int) -> None:
    stream = FeatureStream(CausalMem(budget=24 + 4 * n_words, columns=8), n_words)
    for part_NE in apart(12, range(4, 7), 3).split(4 * ROWS * COLUMNS):
        stream.watch(part_NE)
    assert bool(stream.state.basis.column_EC[-1].abs().amax() > 0.5)
    forget(stream, range(4, 7))
    assert bool((stream.state.basis.column_EC[-1] == 0).all())
    assert bool(stream.state.basis.column_EC.abs().amax() > 0.1)
    assert not bool((stream.view.features.embeddings_NE[:, -1] != 0).any())
    for part_NE in apart(8, range(0), 4).split(4 * ROWS * COLUMNS):
        stream.watch(part_NE)
    before = stream.state
    forget(stream, range(100, 200))
    assert stream.state is before


def test_events_forget_how_the_newest_frames_looked() -> None:
    stream = FeatureStream(EventForest(budget=36))
    frames_NE = moving_pictures(20, WIDTH, torch.Generator().manual_seed(5))
    for part_NE in frames_NE.split(4 * ROWS * COLUMNS):
        stream.watch(part_NE)
    state = stream.state
    forget(stream, range(2, 9))
    assert stream.state is state
    forget(stream, range(17, 18))
    assert (stream.state.mean_E, stream.state.similarities) == (None, ())
    for part_NE in frames_NE.split(5 * ROWS * COLUMNS):
        stream.watch(part_NE)


def test_tiers_go_on_behind_frames_that_are_gone() -> None:
    """A frame leaves the short tier once, whatever numbers are missing before it."""
    stream = FeatureStream(SAVEMem(budget=40, short=3))
    words = tuple(torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(n)) for n in range(5))

    def watch(n_frames: int, seed: int) -> None:
        frames_NE = moving_pictures(n_frames, WIDTH, torch.Generator().manual_seed(seed))
        tokens = features(frames_NE, stream.memory.current.frames_seen)
        stream.memory.commit_features(tokens, float(tokens.times_seconds_N[-1]))
        view = replace(stream.view, texts=words)
        plan, stream.state = stream.policy.after_chunk(view, stream.state)
        stream.memory.apply(plan)
        stream.memory.check_invariants()

    for seed in range(4):
        watch(4, seed)
    forget(stream, range(13, 15))
    assert stream.state.usual is None
    watch(4, 9)
    assert stream.state.first_short == 17


@given(cuts=st.lists(st.booleans(), min_size=1, max_size=12), gone=forgotten_frames)
def test_segments_that_lost_all_frames_are_gone(cuts: list[bool], gone: range) -> None:
    rule, segments = CutRule(similarity=0.5, least=1, most=100), Segments()
    feature_E = torch.tensor([1.0, 0.0])
    for frame, cut in enumerate(cuts):
        feature_E = feature_E.flip(0) if cut else feature_E
        segments = segments.add(frame, feature_E, rule)
    left = [frame for frame in range(len(cuts)) if frame not in gone]
    starts = [frame for frame, cut in enumerate(cuts) if cut or frame == 0]
    segment_of = [max(start for start in starts if start <= frame) for frame in left]
    after = segments.of_frames(left, gone)
    assert after.starts == tuple(sorted(set(segment_of)))
    assert (after.newest_E is None) == (len(cuts) - 1 in gone)


def test_a_gate_forgets_what_the_newest_frames_looked_like() -> None:
    policy = Gate(inner=Recent(inner=Plain(), frames=3), budget=40)
    stream = watched(policy, [4, 4], tokens_per_frame=3)
    assert sorted(set(stream.state.frame_N.tolist())) == [5, 6, 7]
    stream.forget(range(6, 7))
    assert sorted(set(stream.state.frame_N.tolist())) == [5, 7]
    assert stream.state.embeddings_NE.shape[0] == 6
    assert stream.state.usual is None


class Plain(Policy):
    """Keeps everything that its budget holds; the newest rows where it does not."""

    name: ClassVar[str] = "plain"

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        n = view.layers[0].n_rows
        return Plan.same_rows(torch.arange(max(n - (self.budget_tokens or 0), 0), n), view.n_layers), state


def test_no_row_is_seen_twice_where_the_newest_frames_were_forgotten() -> None:
    """What is held then as the newest may be the store's already."""
    policy = Recent(inner=ReKV(frames=4), frames=2, budget=30)
    stream = watched(policy, [4, 4], tokens_per_frame=3)
    stream.forget(range(6, 8))
    for layer in range(3):
        asked = asked_in(stream, layer, torch.randn(4, 2, 2))
        recalled = stream.policy.recall(layer, asked, stream.state)
        tokens = recalled_tokens(stream, layer, recalled)
        assert len(tokens) == len(set(tokens))
        assert recalled.archive_rows is not None
        assert recalled.archive_rows.numel() == 12


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    pictures: tuple[torch.Tensor, ...] = ()
    n_frames: int = 0


class Hoarder(Policy):
    """A policy that does not say how it forgets. remembers: tensors, or numbers alone."""

    name: ClassVar[str] = "hoarder"
    needs_features: ClassVar[bool] = True
    remembers: bool = True

    def start(self, stream: StreamFacts) -> Remembered:
        super().start(stream)
        return Remembered()

    def after_chunk(self, view: MemoryView, state: Remembered) -> tuple[Plan, Remembered]:
        pictures = (*state.pictures, view.encoded.embeddings_NE) if self.remembers else ()
        n = view.layers[0].n_rows
        keep = torch.arange(max(n - (self.budget_tokens or 0), 0), n)
        return Plan.same_rows(keep, view.n_layers), Remembered(pictures, view.frames_seen)


def test_a_policy_that_does_not_say_how_it_forgets_begins_anew_if_it_keeps_tensors() -> None:
    with_tensors, without = (watched(Hoarder(budget=9, remembers=remembers), [3, 3]) for remembers in (True, False))
    state = without.state
    for stream in (with_tensors, without):
        stream.forget(range(1, 2))
    assert with_tensors.state.pictures == ()
    assert with_tensors.state.n_frames == 0
    assert without.state is state


def test_features_of_the_interval_so_far_are_no_policys_business() -> None:
    """StreamKV's segments name frames that are held; one that is forgotten within the interval is never added."""
    stream = watched(StreamKV(budget=12), [3, 3], tokens_per_frame=3)
    stream._ingest(3)
    stream.forget(range(7, 8))
    view = stream.view(
        encoded=only(stream._encoded(3), (6, 8)), queries={"guide": dict.fromkeys(range(3), torch.randn(4, 2))}
    )
    plan, state = stream.policy.after_chunk(view, stream.state)
    plan.validate(stream.memory.current.held_tokens, 0, stream.memory.current.archived_tokens)
    assert 7 not in state.segments.starts


def only(encoded: FeatureView, frames: tuple[int, ...]) -> FeatureView:
    rows_N = torch.isin(encoded.frame_N, torch.tensor(frames)).nonzero()[:, 0]
    return FeatureView(encoded.embeddings_NE[rows_N], encoded.table.select(rows_N))
