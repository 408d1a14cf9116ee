"""What a question reads: a gate before the past, and the best pages of what is held."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy
from hermes_stream.policies.fresh import Fresh
from hermes_stream.policies.gate import Gate, GateState
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.live_vlm import page_scores
from hermes_stream.policies.pages import Pages, PagesState
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.spec import parse_memory
from hermes_stream.policies.uniform import Uniform

from .contract import chunk_sizes
from .harness import HEAD_DIM, HEADS, FakeStream, feature_view
from .test_recent import BUDGET, holds_rows

GATE = Gate(inner=Recent(inner=Uniform(), frames=2), budget=BUDGET)
TEXTS = (torch.tensor([[1.0, 0, 0]]),)


def view_of(features: FeatureView, frames_seen: int, *, waits: bool = False) -> MemoryView:
    kind = {"features": features} if waits else {"encoded": features}
    return MemoryView((FakeStream(GATE).view().layers[0],), None, frames_seen, 0.0, 0, 1, texts=TEXTS, **kind)


def at_angles(*cosines: float) -> torch.Tensor:
    return torch.tensor([[c, (1 - c * c) ** 0.5, 0] for c in cosines])


@pytest.mark.parametrize("wrapper", [Recent, Fresh])
@pytest.mark.parametrize(("rho", "reads"), [(0.9, True), (0.1, False)])
def test_the_specifications_example(wrapper: Any, rho: float, reads: bool) -> None:
    """Usual .30, a question that scores .20: usual becomes .28 for it; .20 < .252, but not below .028."""
    policy = Gate(inner=wrapper(inner=Uniform(), frames=2), rho=rho, budget=BUDGET)
    waits = wrapper is Fresh
    view = view_of(feature_view(at_angles(0.3, 0.3), 1, 0), 2, waits=waits)
    plan_state = policy.start(FakeStream(GATE).facts)
    _, state = policy.after_chunk(view, plan_state)
    assert state.usual == pytest.approx(0.3)
    now = view_of(feature_view(at_angles(0.2, 0.2), 1, 2), 4, waits=waits)
    spec = policy.view_for(now, state, TEXTS[0])
    assert spec.sees_held == reads
    assert spec.first_frame == (None if reads or waits else 2)
    assert (spec.fresh_rows is not None) == waits
    assert policy.view_for(now, state, None).sees_held


def test_what_is_usual_moves_by_a_fifth_at_an_intervals_end_and_frames_are_remembered() -> None:
    state = GATE.start(FakeStream(GATE).facts)
    _, state = GATE.after_chunk(view_of(feature_view(at_angles(0.4, 0.1, 0.3), 1, 0), 3), state)
    assert state.usual == pytest.approx(0.2)  # of the newest two
    assert state.frame_N is not None
    assert state.frame_N.tolist() == [1, 2]
    _, state = GATE.after_chunk(view_of(feature_view(at_angles(0.7), 1, 3), 4), state)
    assert state.usual == pytest.approx(0.8 * 0.2 + 0.2 * 0.5)  # frames 2 and 3
    assert state.frame_N is not None
    assert state.frame_N.tolist() == [2, 3]


def test_before_the_first_interval_ends_everything_is_read() -> None:
    state = GATE.start(FakeStream(GATE).facts)
    assert GATE.view_for(view_of(feature_view(at_angles(0.9), 1, 0), 1), state, TEXTS[0]).sees_held


def reads_all(policy: Policy) -> bool:
    """Whether a question reads whatever it holds."""
    return type(policy).recall is Policy.recall and policy.archive is None


STORES = [name for name, cls in POLICIES.items() if holds_rows(cls())]
CASES = [(name, f"{anchor}(frames=2) + gate") for name in STORES for anchor in ("recent", "fresh")]
CASES += [
    (name, text) for name in STORES if reads_all(POLICIES[name]()) for text in ("pages", "pages + recent(frames=2)")
]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_laws_hold_around_every_store(name: str, text: str) -> None:
    policy = parse_memory(f"{name} + {text}").with_budget(BUDGET)
    stream = FakeStream(policy)
    for n_frames in chunk_sizes(12):
        interval = stream.advance(n_frames)
        stream.memory.check_invariants()
        assert not policy.is_bounded or max(interval.held) <= BUDGET


def asked_of(stream: FakeStream, seed: int = 0) -> Asked:
    query_HTD = torch.randn(2 * HEADS, 4, HEAD_DIM, generator=torch.Generator().manual_seed(seed))
    layer = stream.view().layers[0]
    return Asked(query_HTD, query_HTD, layer.archive, layer)


@pytest.mark.parametrize("keep", [0.2, 0.4, 1.0])
def test_the_best_pages_are_read(keep: float) -> None:
    """24 rows in 8 pages of a frame: a page is as long as 16 rows, but no longer than a frame."""
    stream = FakeStream(Pages(inner=Hermes(), keep=keep, budget=BUDGET))
    stream.advance(8)
    asked = asked_of(stream)
    score_P = page_scores(asked.query_HTD, asked.held.tensors.raw_keys_KND, 3).tolist()
    n_best = {0.2: 2, 0.4: 4, 1.0: 8}[keep]
    best = sorted(sorted(range(8), key=lambda page: -score_P[page])[:n_best])
    held_rows = stream.policy.recall(0, asked, stream.state).held_rows
    assert held_rows is not None
    assert held_rows.tolist() == [3 * page + row for page in best for row in range(3)]
    assert stream.policy.view_for(stream.view(), stream.state, None).recalls


def test_inside_recent_the_newest_frames_are_read_besides() -> None:
    stream = FakeStream(Recent(inner=Pages(inner=Hermes(), keep=0.2), frames=2, budget=BUDGET))
    stream.advance(8)
    asked = asked_of(stream)
    held_rows = stream.policy.recall(0, asked, stream.state).held_rows
    assert held_rows is not None
    assert held_rows.tolist()[-6:] == list(range(18, 24))
    assert len(held_rows) == 2 * 3 + 6


def test_states_are_values() -> None:
    """Snapshots write them: tensors, numbers and what the store inside has."""
    for policy, kind in ((GATE, GateState), (Pages(inner=Hermes(), budget=BUDGET), PagesState)):
        assert isinstance(FakeStream(policy).state, kind)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gate(inner=Uniform()), "a gate needs newest frames to look at; write recent"),
        (lambda: Gate(inner=Pages(inner=Uniform())), "a gate needs newest frames"),
        (lambda: Pages(inner=POLICIES["livevlm"]()), "livevlm chooses what a question reads itself; leave pages out"),
        (lambda: Pages(inner=POLICIES["recent-frames"]()), "recent-frames holds features, not rows; leave pages out"),
    ],
)
def test_what_cannot_be_together_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_gate_may_stand_around_pages() -> None:
    policy: Policy = parse_memory("hermes(budget=64) + pages + recent(frames=2) + gate(rho=0.5)")
    assert str(policy) == "hermes(budget=64) + pages + recent(frames=2) + gate(rho=0.5)"
