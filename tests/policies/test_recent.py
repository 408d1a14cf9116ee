"""Protected frames in every store that holds rows; no store is named where a law is tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import LayerPlan, Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies import POLICIES, WRAPPERS
from hermes_stream.policies.attention_sinks import AttentionSinks
from hermes_stream.policies.base import Policy, StreamFacts
from hermes_stream.policies.dscache import DSCache
from hermes_stream.policies.fresh import Fresh
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.infinipot_v import InfiniPotV
from hermes_stream.policies.recall import Asked
from hermes_stream.policies.recent import Recent
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.policies.uniform import Uniform
from hermes_stream.policies.wrapper import Wrapper
from tests.oracles.sampling_oracle import dyadic_frames

from .contract import assert_same_plans, chunk_sizes, run
from .harness import FakeStream

BUDGET, FRAMES = 24, 2
FACTS = StreamFacts(n_layers=10, tokens_per_frame=3, family="any")


def holds_rows(policy: Policy) -> bool:
    """Whether newest frames can be set apart from it: it looks at rows only, and holds no frames back itself."""
    is_of_rows = policy.ingests == "tokens" and not policy.needs_features
    return is_of_rows and not policy.with_budget(BUDGET).held_back(FACTS)


STORES = {
    name: Recent(inner=policy_class(), frames=FRAMES)
    for name, policy_class in POLICIES.items()
    if holds_rows(policy_class())
}


def newest_rows(layer: LayerView, frames_seen: int) -> torch.Tensor:
    """How many rows each head holds of the newest frames, `[H]`."""
    return (layer.table.frame_HN >= frames_seen - FRAMES).sum(dim=-1)


@pytest.mark.parametrize("name", STORES)
def test_laws_hold_and_the_newest_frames_are_whole(name: str) -> None:
    policy = STORES[name].with_budget(BUDGET)
    stream = FakeStream(policy)
    for n_frames in chunk_sizes(60):
        interval = stream.advance(n_frames)
        stream.memory.check_invariants()
        view = stream.view()
        whole = min(view.frames_seen, FRAMES) * stream.tokens_per_frame
        assert all(bool((newest_rows(layer, view.frames_seen) == whole).all()) for layer in view.layers)
        if policy.is_bounded:
            assert max(interval.held) <= BUDGET
        if interval.plan.layers is None:
            assert interval.probe_names == ()


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("sizes", [[1] * 20, [9, 1, 9, 9]], ids=str)
def test_the_smallest_budget_that_works(name: str, sizes: list[int]) -> None:
    """The protected frames and one more (and what a store itself needs besides)."""
    sinks = 4 if name == "attention-sinks" else 0
    run(STORES[name].with_budget(9 + sinks), sizes, max_positions=200 if STORES[name].is_bounded else 2**31)


@pytest.mark.parametrize("store", [SlidingWindow(), AttentionSinks()], ids=lambda store: store.name)
@pytest.mark.parametrize("frames", [1, 3])
def test_stores_that_keep_the_newest_anyway_do_not_notice(store: Policy, frames: int) -> None:
    plain, wrapped = (run(p.with_budget(BUDGET), chunk_sizes(20)) for p in (store, Recent(inner=store, frames=frames)))
    for ours, theirs in zip(wrapped.intervals, plain.intervals, strict=True):
        assert ours.held == theirs.held
    for layer, other in zip(wrapped.memory.current.layers, plain.memory.current.layers, strict=True):
        assert torch.equal(layer.table.identity_HN, other.table.identity_HN)
        assert torch.equal(layer.keys, other.keys)


def test_uniform_spreads_what_is_older() -> None:
    """8 frames fit, 2 are protected: a reservoir of 6 over all but the newest 2."""
    stream = FakeStream(Recent(inner=Uniform(), frames=FRAMES, budget=BUDGET))
    for _ in range(40):
        stream.advance(1)
        seen = stream.memory.current.frames_seen
        older = max(seen - FRAMES, 0)
        held = stream.view().layers[0].frame_N.unique().tolist()
        assert held == [*dyadic_frames(older, 6), *range(older, seen)]


class Spy(Policy):
    """Keeps every other of its rows where it must; looks at all that it is shown."""

    name: ClassVar[str] = "spy"
    views: ClassVar[list[MemoryView]] = []

    def probes(self, n_rows: Any, history: Any, stream: StreamFacts) -> Any:
        return Hermes(budget=1).probes(n_rows, history, stream)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        self.views.append(view)
        n = view.layers[0].n_rows
        if not view.is_over_budget:
            return Plan.keep_all(), state
        return Plan.same_rows(torch.arange(n)[-(view.budget_tokens or 0) :], view.n_layers), state


def test_the_store_sees_older_rows_only_and_all_of_them() -> None:
    """With their attention, keys and values, and the budget that the newest rows leave."""
    stream = FakeStream(Recent(inner=Spy(), frames=FRAMES, budget=BUDGET))
    Spy.views.clear()
    for n_frames in (3, 4, 5):
        probes = stream._ingest(n_frames)
        whole = stream.view(stream._masses(probes, stream.memory.current.held_tokens))
        stream.policy.after_chunk(whole, stream.state)
        shown = Spy.views[-1]
        assert (shown.frames_seen, shown.budget_tokens) == (whole.frames_seen - FRAMES, BUDGET - FRAMES * 3)
        for layer, part in zip(whole.layers, shown.layers, strict=True):
            is_older_N = layer.frame_N < whole.frames_seen - FRAMES
            assert torch.equal(part.identity_N, layer.identity_N[is_older_N])
            assert torch.equal(part.tensors.values_KND, layer.tensors.values_KND[:, is_older_N])
            assert torch.equal(part.tensors.raw_keys_KND, layer.tensors.raw_keys_KND[:, is_older_N])
            assert part.mass.keys() == layer.mass.keys()
            assert all(torch.equal(part.mass[probe], layer.mass[probe][:, is_older_N]) for probe in part.mass)
    assert any(layer.mass for layer in Spy.views[-1].layers)


def test_heads_that_hold_different_rows_are_seen_head_by_head() -> None:
    stream = run(Recent(inner=InfiniPotV(), frames=FRAMES, budget=BUDGET), [3] * 12)
    assert stream.view().layers[0].table.n_heads == 2
    whole = stream.view()
    Spy.views.clear()
    Recent(inner=Spy(), frames=FRAMES, budget=BUDGET).after_chunk(whole, None)
    for layer, part in zip(whole.layers, Spy.views[-1].layers, strict=True):
        for head in range(2):
            is_older_N = layer.table.frame_HN[head] < whole.frames_seen - FRAMES
            assert torch.equal(part.table.identity_HN[head], layer.table.identity_HN[head, is_older_N])
            assert torch.equal(part.tensors.values_KND[head], layer.tensors.values_KND[head, is_older_N])


def test_summaries_of_older_rows_are_made_as_the_store_says() -> None:
    """Counts are conserved (the invariants), and summaries stand for older rows although new ones came behind them."""
    stream = run(Recent(inner=Hermes(summary="all"), frames=FRAMES, budget=BUDGET), [2] * 20)
    for layer in stream.view().layers:
        assert int(layer.table.count_HN.max()) > 10
    made = [fold for interval in stream.intervals for layer in interval.plan.layers or () for fold in layer.folds]
    assert made


class Recalling(Policy):
    """Recalls archive row 0 and held rows as told; settles on one row more."""

    name: ClassVar[str] = "recalling"
    held: tuple[int, ...] | None = None

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        n = view.layers[0].n_rows
        return Plan((LayerPlan(torch.arange(n), archive=torch.arange(n)),) * view.n_layers), state

    def recall(self, layer: int, asked: Asked, state: Any) -> Recalled:
        held = None if self.held is None else torch.tensor(self.held, dtype=torch.int64)
        return Recalled(torch.tensor([0]), held)

    def settle(self, asked: Any, recalled: Any, state: Any) -> Any:
        assert all(one.held.n_rows == 6 for one in asked)
        assert [None if r.held_rows is None else tuple(r.held_rows.tolist()) for r in recalled] in ([self.held], [()])
        return [replace(one, held_rows=torch.tensor([5])) for one in recalled]


@pytest.mark.parametrize(
    ("held", "sees_held", "seen"),
    [((1, 3), False, [1, 3, 6, 7]), ((), True, [6, 7]), (None, False, [6, 7]), (None, True, None)],
)
def test_the_newest_frames_are_seen_beside_what_is_recalled(held: Any, sees_held: bool, seen: Any) -> None:
    """8 frames of one token, of which 2 are protected."""
    stream = FakeStream(Recent(inner=Recalling(held=held), frames=FRAMES, budget=BUDGET), tokens_per_frame=1)
    stream._ingest(8)
    layer, none = stream.view().layers[0], torch.empty(0)
    asked = Asked(none, none, layer.archive, layer, sees_held)
    recalled = stream.policy.recall(0, asked, None)
    assert (None if recalled.held_rows is None else recalled.held_rows.tolist()) == seen
    (settled,) = stream.policy.settle([asked], [recalled], None)
    assert settled.held_rows is not None
    assert settled.held_rows.tolist() == [5, 6, 7]


def test_only_older_rows_are_archived() -> None:
    stream = FakeStream(Recent(inner=Recalling(), frames=FRAMES, budget=BUDGET))
    stream._ingest(8)
    plan, _ = stream.policy.after_chunk(stream.view(), None)
    assert plan.layers is not None
    assert plan.layers[0].archive is not None
    assert plan.layers[0].archive.tolist() == list(range(6 * 3))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            Recent(inner=Uniform(), frames=4, budget=19),
            "recent: a budget of 19 tokens cannot hold 4 newest frames of 4 and one more; give at least 20",
        ),
        (Recent(inner=Hermes(shares=(1.3, 1, 0.7)), frames=1, budget=64), "hermes divides the budget among the layers"),
        (Recent(inner=Uniform(newest=True), frames=4, budget=20), "has no room beside the newest frame"),
        (Recent(inner=Uniform(), frames=4), "uniform has no budget yet"),
        (Recent(inner=DSCache(), frames=1, budget=64), "dscache holds the newest frames back itself; leave recent out"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_frame(policy: Policy, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        policy.start(StreamFacts(n_layers=10, tokens_per_frame=4, family="any"))


def test_the_same_seed_gives_the_same_plans() -> None:
    for policy in STORES.values():
        first, second = (run(policy.with_budget(BUDGET), chunk_sizes(6), seed=7) for _ in range(2))
        for ours, theirs in zip(first.intervals, second.intervals, strict=True):
            assert_same_plans(ours.plan, theirs.plan)


@pytest.mark.parametrize("wrapper", [Wrapper, *WRAPPERS.values()], ids=lambda wrapper: wrapper.__name__)
def test_a_wrapper_answers_for_everything_that_a_policy_is_asked(wrapper: type[Wrapper]) -> None:
    """A method of Policy that is new reaches the policy inside, or belongs to the whole and is listed here."""
    whole = {
        "name",
        "presets",
        "holds",
        "budget",
        "front_ends",
        "title",
        "needs_saliency",
        "tokens_after",
        "with_budget",
    }
    asked = {name for name in vars(Policy) if not name.startswith(("_", "model_"))} - whole
    assert asked <= {name for cls in wrapper.__mro__ if issubclass(cls, Wrapper) for name in vars(cls)}


def test_a_question_sees_the_newest_frames_beside_what_the_store_recalls() -> None:
    """No more than before in all: the store counts by its own part of the budget."""
    for name, policy_class in POLICIES.items():
        store = policy_class()
        if name in STORES and store.with_budget(BUDGET).seen_rows(FACTS) is not None:
            inside = store.with_budget(BUDGET - FRAMES * 3).seen_rows(FACTS) or 0
            for wrapper in (Recent, Fresh):
                whole = wrapper(inner=store, frames=FRAMES, budget=BUDGET)
                assert whole.seen_rows(FACTS) == inside + FRAMES * 3
