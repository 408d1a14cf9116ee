"""Sliding window, recent frames, uniform and random samples, by the numbers of their definitions."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies.base import Policy, StreamFacts
from hermes_stream.policies.keep_all import KeepAll
from hermes_stream.policies.random import Random, random_numbers
from hermes_stream.policies.recent_frames import RecentFrames
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.uniform import Uniform

from ..oracles import sampling_oracle as oracle
from .contract import run
from .harness import FakeStream, hand_made_view

# Chi-square with 15 degrees of freedom exceeds this once in a thousand.
CHI_SQUARE_15 = 37.7


def held_frames(stream: FakeStream) -> list[int]:
    frame_N = stream.memory.current.layers[0].table.frame_HN[0, stream.prefix_tokens :]
    return sorted(set(frame_N.tolist()))


def held_identities(stream: FakeStream) -> list[int]:
    """Video tokens held, numbered from 0."""
    identity_N = stream.memory.current.layers[0].table.identity_HN[0, stream.prefix_tokens :]
    return (identity_N - stream.prefix_tokens).tolist()


def stream_of(policy: Policy, n_frames: int, *, tokens_per_frame: int = 1, seed: int = 0, chunk: int = 1) -> FakeStream:
    stream = FakeStream(policy, n_layers=2, tokens_per_frame=tokens_per_frame, prefix_tokens=1, seed=seed)
    for start in range(0, n_frames, chunk):
        stream.advance(min(chunk, n_frames - start))
    return stream


@pytest.mark.parametrize(("positions", "expected"), [("keep", [5, 6, 7, 8, 9, 10]), ("compact", [1, 2, 3, 4, 5, 6])])
def test_a_window_holds_the_newest_frames(positions: str, expected: list[int]) -> None:
    stream = stream_of(SlidingWindow(budget=6, positions=Positions(positions)), 5, tokens_per_frame=2)
    assert held_frames(stream) == [2, 3, 4]
    assert stream.memory.current.layers[1].table.position_RHN[0, 0, 1:].tolist() == expected


def test_a_window_holds_whole_frames() -> None:
    stream = stream_of(SlidingWindow(budget=7), 9, tokens_per_frame=2)
    assert held_identities(stream) == [12, 13, 14, 15, 16, 17]


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 5), spare=st.integers(0, 2), n_frames=st.integers(1, 20), chunk=st.integers(1, 6))
@example(capacity=2, spare=0, n_frames=3, chunk=1)
def test_a_window_holds_as_many_whole_frames_as_fit(capacity: int, spare: int, n_frames: int, chunk: int) -> None:
    policy = SlidingWindow(budget=3 * capacity + spare)
    stream = stream_of(policy, n_frames, tokens_per_frame=3, chunk=chunk)
    assert held_identities(stream) == list(range(3 * n_frames))[-3 * capacity :]


def test_of_a_frame_larger_than_the_window_the_last_tokens_stay() -> None:
    """Frames may turn out larger than the stream promised."""
    view = hand_made_view([list(range(8))] * 2, frames=[[0, 0, 1, 1, 1, 1, 1, 1]] * 2, budget=4)
    plan, _ = SlidingWindow(budget=4).after_chunk(view, None)
    assert plan.layers is not None
    assert [layer.keep.tolist() for layer in plan.layers] == [[4, 5, 6, 7]] * 2


def fresh_frames(stream: FakeStream) -> list[int]:
    rows_N = stream.policy.view_for(stream.view(), None, None).fresh_rows
    assert rows_N is not None
    return stream.view().features.frame_N[rows_N].unique().tolist()


def test_recent_frames_are_as_many_as_the_budget_holds() -> None:
    stream = run(RecentFrames(budget=7), [2, 1, 1, 3])
    assert fresh_frames(stream) == [5, 6]
    assert not stream.policy.view_for(stream.view(), None, None).sees_held
    assert stream.view().features.frame_N.unique().tolist() == [5, 6]


def test_recent_frames_take_their_number_instead_of_a_budget() -> None:
    """A question in the middle of an interval sees the newest frames too."""
    stream = FakeStream(RecentFrames(frames=2, budget=1))
    stream.advance(5)
    stream._ingest(1)
    assert fresh_frames(stream) == [4, 5]


@pytest.mark.parametrize(
    ("n_frames", "expected"), [(5, [0, 2, 4]), (7, [0, 2, 4, 6]), (9, [0, 4, 8]), (17, [0, 8, 16])]
)
def test_uniform_frames_are_multiples_of_a_power_of_two(n_frames: int, expected: list[int]) -> None:
    assert held_frames(stream_of(Uniform(budget=4), n_frames)) == expected


@settings(max_examples=40, deadline=None)
@given(capacity=st.integers(1, 9), n_frames=st.integers(1, 70), chunk=st.integers(1, 9))
def test_uniform_frames_equal_the_oracle_for_any_interval(capacity: int, n_frames: int, chunk: int) -> None:
    state = Uniform(budget=2 * capacity).start(StreamFacts(1, 2, "any"))
    policy = Uniform(budget=2 * capacity)
    frames = list(range(n_frames))
    held: list[int] = []
    for start in range(0, n_frames, chunk):
        held += [frame for frame in frames[start : start + chunk] for _ in range(2)]
        view = hand_made_view([list(range(len(held)))], frames=[held], budget=2 * capacity)
        plan, state = policy.after_chunk(view, state)
        # The newest frame may have been dropped: the view knows how many were seen all the same.
        if plan.layers is not None:
            held = [held[row] for row in plan.layers[0].keep.tolist()]
    expected = oracle.dyadic_frames(n_frames, capacity)
    assert sorted(set(held)) == expected
    assert len(held) == 2 * len(expected)
    assert n_frames < capacity or len(expected) >= capacity / 2


def test_the_newest_frame_can_be_held_besides() -> None:
    stream = stream_of(Uniform(budget=5, newest=True), 12)
    assert held_frames(stream) == [0, 4, 8, 11]
    with pytest.raises(PolicyError, match="no room beside the newest frame; give at least 6"):
        Uniform(budget=5, newest=True).start(StreamFacts(1, 3, "any"))


def test_thinned_tokens_follow_the_floor_rule() -> None:
    """Numbers of the released code's rule: 8 rows to 6, two new ones each time."""
    stream = FakeStream(Uniform(budget=6, unit="tokens", form="floor"), n_layers=2, tokens_per_frame=1)
    stream.advance(8)
    held = [held_identities(stream)]
    for _ in range(3):
        stream.advance(2)
        held.append(held_identities(stream))
    assert held == [[0, 1, 2, 4, 5, 6], [0, 1, 2, 5, 6, 8], [0, 1, 2, 6, 8, 10], [0, 1, 2, 8, 10, 12]]


@settings(max_examples=30, deadline=None)
@given(budget=st.integers(1, 12), chunk=st.integers(1, 7), form=st.sampled_from(["linspace", "floor"]))
def test_thinned_tokens_equal_the_oracle(budget: int, chunk: int, form: str) -> None:
    policy = Uniform(budget=budget, unit="tokens", form=form)
    stream = FakeStream(policy, n_layers=2, tokens_per_frame=1)
    expected: list[int] = []
    for step in range(6):
        stream.advance(chunk)
        expected = oracle.thinned(expected + list(range(step * chunk, (step + 1) * chunk)), budget, form)
        assert held_identities(stream) == expected


def test_random_numbers_are_those_of_the_published_generator() -> None:
    golden = 0x9E3779B97F4A7C15
    for seed in (0, 7, 2**62, -3):
        start = oracle.splitmix64(seed % 2**63 + golden)
        expected = [oracle.splitmix64(start + (item + 1) * golden) for item in range(50)]
        ours = random_numbers(seed, torch.arange(50))
        assert [number % 2**64 for number in ours.tolist()] == expected


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), capacity=st.integers(1, 6), chunk=st.integers(1, 5))
def test_a_random_sample_does_not_depend_on_the_interval(seed: int, capacity: int, chunk: int) -> None:
    number = random_numbers(seed, torch.arange(15)).tolist()
    expected = sorted(sorted(range(15), key=number.__getitem__)[:capacity])
    assert held_frames(stream_of(Random(budget=capacity), 15, seed=seed, chunk=chunk)) == expected


def _chi_square(samples: list[list[int]], n_items: int) -> float:
    """Of how often each item was held. Samples hold a fixed number, which lowers the statistic a little."""
    counts = Counter(item for sample in samples for item in sample)
    expected = sum(counts.values()) / n_items
    return sum((counts[item] - expected) ** 2 / expected for item in range(n_items))


def test_each_frame_is_held_with_the_same_probability() -> None:
    ours = [held_frames(stream_of(Random(budget=4), 16, seed=seed, chunk=4)) for seed in range(300)]
    assert all(len(sample) == 4 for sample in ours)
    assert _chi_square(ours, 16) < CHI_SQUARE_15


def test_frames_are_held_as_often_together_as_in_a_reservoir_of_slots() -> None:
    """Pairs too: a sampler can hold each frame equally often and still never hold neighbours."""
    generator = random.Random(0)
    n_samples = 3000
    ours, theirs = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for seed in range(n_samples):
        number = random_numbers(seed, torch.arange(7)).tolist()
        ours[tuple(sorted(sorted(range(7), key=number.__getitem__)[:2]))] += 1
        theirs[tuple(oracle.slot_reservoir(7, 2, generator))] += 1
    expected = n_samples / 21
    for counts in (ours, theirs):
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 45.3  # 20 degrees, 1 in 1000


def test_random_tokens_are_spread_over_all_frames_alike() -> None:
    for seed in range(20):
        stream = stream_of(Random(budget=10, unit="tokens"), 7, tokens_per_frame=5, seed=seed, chunk=2)
        per_frame = Counter(identity // 5 for identity in held_identities(stream))
        assert sorted(per_frame[frame] for frame in range(7)) == [1, 1, 1, 1, 2, 2, 2]


def test_random_tokens_do_not_depend_on_the_interval() -> None:
    """What is gone would not have come back: whole streams and single frames end with the same tokens."""
    policy = Random(budget=7, unit="tokens")
    held = [held_identities(stream_of(policy, 12, tokens_per_frame=3, seed=5, chunk=chunk)) for chunk in (1, 5, 12)]
    assert held[0] == held[1] == held[2]


def test_each_token_is_held_with_the_same_probability() -> None:
    ours = []
    for seed in range(300):
        stream = stream_of(Random(budget=6, unit="tokens"), 4, tokens_per_frame=4, seed=seed, chunk=3)
        ours.append(held_identities(stream))
    assert all(len(sample) == 6 for sample in ours)
    assert _chi_square(ours, 16) < CHI_SQUARE_15


def test_one_draw_serves_all_layers() -> None:
    for policy in (
        Random(budget=6),
        Random(budget=6, unit="tokens"),
        Uniform(budget=6),
        Uniform(budget=6, unit="tokens"),
    ):
        stream = run(policy, [2] * 6)
        tables = [layer.table.identity_HN for layer in stream.memory.current.layers]
        assert all(torch.equal(table, tables[0]) for table in tables)


def test_another_seed_gives_another_sample() -> None:
    samples = {tuple(held_frames(stream_of(Random(budget=4), 16, seed=seed))) for seed in range(10)}
    assert len(samples) > 5


def test_keep_all_takes_no_budget() -> None:
    assert KeepAll().with_budget(8) == KeepAll()
    with pytest.raises(ValueError, match="keep-all holds everything and takes no budget"):
        KeepAll(budget=8)
