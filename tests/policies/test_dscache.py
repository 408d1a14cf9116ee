"""DSCache: which frames wait, which are in the window, and what it is at its limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.dscache import DSCache
from hermes_stream.policies.sliding_window import SlidingWindow

from ..oracles.dscache_oracle import frames_seen
from .contract import run
from .harness import FakeStream


def window_frames(stream: FakeStream) -> list[int]:
    return stream.view().layers[0].frame_N.unique().tolist()


def instant_frames(stream: FakeStream) -> list[int]:
    view = stream.view()
    spec = stream.policy.view_for(view, stream.state, None)
    assert spec.sees_held
    assert not spec.fresh_sees_held
    assert spec.fresh_rows is not None
    return view.features.frame_N[spec.fresh_rows].unique().tolist()


def test_the_specifications_example() -> None:
    """4 instant frames and 28 of the past, which is also the default split: frames 0 to 40."""
    for policy in (DSCache(budget=96), DSCache(budget=96, instant=4)):
        stream = run(policy, [1] * 41)
        assert instant_frames(stream) == [37, 38, 39, 40]
        assert window_frames(stream) == list(range(9, 37))


@settings(max_examples=40, deadline=None)
@given(n_instant=st.integers(1, 5), n_window=st.integers(0, 4), chunk=st.integers(1, 5), n_chunks=st.integers(1, 6))
def test_frames_are_where_the_oracle_has_them(n_instant: int, n_window: int, chunk: int, n_chunks: int) -> None:
    stream = run(DSCache(budget=3 * (n_instant + n_window), instant=n_instant), [chunk] * n_chunks)
    _, held = frames_seen(chunk * n_chunks, chunk, n_instant, n_window)
    assert {*window_frames(stream), *instant_frames(stream)} == held
    assert instant_frames(stream) == sorted(held)[-n_instant:]


@pytest.mark.parametrize(
    ("n_frames", "n_instant"), [(1, 1), (2, 1), (8, 1), (11, 1), (12, 2), (20, 3), (32, 4), (64, 8)]
)
def test_an_eighth_of_the_frames_is_held_back(n_frames: int, n_instant: int) -> None:
    assert DSCache(budget=5 * n_frames + 4).held_back(StreamFacts(2, 5, "any")) == n_instant


def test_a_budget_of_one_frame_has_no_window() -> None:
    stream = run(DSCache(budget=5), [1, 3, 2])
    assert (window_frames(stream), instant_frames(stream)) == ([], [5])


@settings(max_examples=20, deadline=None)
@given(
    budget=st.integers(3, 20),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    positions=st.sampled_from(list(Positions)),
)
def test_without_instant_frames_it_is_a_sliding_window(budget: int, sizes: list[int], positions: Positions) -> None:
    ours = run(DSCache(budget=budget, instant=0, positions=positions), sizes)
    theirs = run(SlidingWindow(budget=budget, positions=positions), sizes)
    for a, b in zip(ours.memory.current.layers, theirs.memory.current.layers, strict=True):
        assert torch.equal(a.table.data_CHN, b.table.data_CHN)
        assert torch.equal(a.keys, b.keys)


def test_more_instant_frames_than_the_budget_holds_are_refused() -> None:
    with pytest.raises(PolicyError, match=r"4 instant frames of 5 tokens do not fit a budget of 19, which holds 3"):
        DSCache(budget=19, instant=4).start(StreamFacts(2, 5, "any"))
