"""Newest frames that are run again for each question, around every store that holds rows."""

from __future__ import annotations

import pytest
import torch

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.dscache import DSCache
from hermes_stream.policies.fresh import Fresh
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.uniform import Uniform
from tests.oracles.sampling_oracle import dyadic_frames

from .contract import assert_same_plans, chunk_sizes, run
from .harness import FakeStream
from .test_recent import BUDGET, FRAMES, holds_rows

STORES = {name: Fresh(inner=cls(), frames=FRAMES) for name, cls in POLICIES.items() if holds_rows(cls())}


@pytest.mark.parametrize("name", STORES)
def test_laws_hold_and_the_newest_frames_wait(name: str) -> None:
    policy = STORES[name].with_budget(BUDGET)
    stream = FakeStream(policy)
    for n_frames in chunk_sizes(60):
        interval = stream.advance(n_frames)
        stream.memory.check_invariants()
        view = stream.view()
        newest = list(range(max(view.frames_seen - FRAMES, 0), view.frames_seen))
        assert view.features.frame_N.tolist() == [frame for frame in newest for _ in range(stream.tokens_per_frame)]
        assert all(bool((layer.table.frame_HN < view.frames_seen - FRAMES).all()) for layer in view.layers)
        spec = policy.view_for(view, stream.state, None)
        assert spec.fresh_rows is not None
        assert spec.fresh_rows.tolist() == list(range(view.features.n_rows))
        assert not spec.fresh_sees_held
        if policy.is_bounded:
            assert max(interval.held) + view.features.n_rows <= BUDGET


@pytest.mark.parametrize("instant", [1, 3])
def test_around_a_sliding_window_it_is_dscache(instant: int) -> None:
    window = SlidingWindow(positions=Positions.COMPACT)
    policies = Fresh(inner=window, frames=instant, budget=BUDGET), DSCache(instant=instant, budget=BUDGET)
    ours, theirs = (run(policy, chunk_sizes(20)) for policy in policies)
    for a, b in zip(ours.intervals, theirs.intervals, strict=True):
        assert_same_plans(a.plan, b.plan)
    specs = [stream.policy.view_for(stream.view(), stream.state, None) for stream in (ours, theirs)]
    assert specs[0].fresh_rows is not None
    assert specs[1].fresh_rows is not None
    assert torch.equal(specs[0].fresh_rows, specs[1].fresh_rows)
    assert (specs[0].sees_held, specs[0].fresh_sees_held) == (specs[1].sees_held, specs[1].fresh_sees_held)


def test_the_store_counts_frames_as_they_enter() -> None:
    """8 frames fit: 2 wait, 1 is protected, a reservoir of 5 spreads over what is older."""
    stream = FakeStream(Fresh(inner=Recent(inner=Uniform(), frames=1), frames=2, budget=BUDGET))
    for _ in range(40):
        stream.advance(1)
        entered = max(stream.memory.current.frames_seen - 2, 0)
        older = max(entered - 1, 0)
        held = stream.view().layers[0].frame_N.unique().tolist()
        assert held == [*dyadic_frames(older, 5), *range(older, entered)]


def test_what_cannot_work_is_said_before_the_first_frame() -> None:
    facts = StreamFacts(n_layers=10, tokens_per_frame=4, family="any")
    with pytest.raises(PolicyError, match="fresh: a budget of 19 tokens cannot hold 4 newest frames of 4 and one more"):
        Fresh(inner=Uniform(), frames=4, budget=19).start(facts)
    with pytest.raises(PolicyError, match=r"recent: uniform \+ fresh holds the newest frames back itself"):
        Recent(inner=Fresh(inner=Uniform()), frames=1, budget=64).start(facts)
