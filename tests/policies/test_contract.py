"""What every registered policy promises; no policy is named here, registering one enrols it."""

from __future__ import annotations

import copy
import enum
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream.errors import PolicyError
from hermes_stream.policies import POLICIES
from hermes_stream.policies.base import Policy, StreamFacts

from .contract import (
    ask,
    assert_forgotten,
    assert_keys_stand_where_the_table_says,
    assert_same_plans,
    assert_within_budget,
    chunk_sizes,
    is_same,
    only_archives,
    run,
    run_from,
)
from .harness import FakeStream
from .restored import held_identities, held_places, through_a_file

BUDGET = 24


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values of an option that has few of them."""
    if annotation is bool:
        return (False, True)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return tuple(annotation)
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _variants(policy_class: type[Policy]) -> dict[str, dict[str, Any]]:
    """Each preset, and each option with few values set to each of them."""
    variants = {f"{policy_class.name}:{preset}": options for preset, options in policy_class.presets.items()}
    for option, field in policy_class.options().items():
        if option in Policy.options():
            continue  # what all policies share is no variant of each
        for value in _choices(field.annotation):
            if value != field.default:
                variants[f"{policy_class.name}({option}={value})"] = {option: value}
    return variants


PLAIN = [pytest.param(policy_class(), id=name) for name, policy_class in POLICIES.items()]
BOUNDED = [pytest.param(policy_class(), id=name) for name, policy_class in POLICIES.items() if policy_class.is_bounded]
PER_FRAME = [pytest.param(kind(), id=name) for name, kind in POLICIES.items() if kind.is_per_frame]
VARIANTS = [
    pytest.param(policy_class(**options), id=name)
    for policy_class in POLICIES.values()
    for name, options in _variants(policy_class).items()
]
# Rows in 8 bits: probes and summaries, prototypes, recalled rows, and rows that are archived in fewer bits still.
VARIANTS += [
    pytest.param(POLICIES[name](memory_bits=8), id=f"{name}(memory_bits=8)")
    for name in ("hermes", "streammem", "tiered", "v-rex")
]


@pytest.mark.parametrize("policy", PLAIN)
def test_laws_hold_over_500_intervals(policy: Policy) -> None:
    run(policy.with_budget(BUDGET), chunk_sizes(500), n_layers=2)


@pytest.mark.parametrize("policy", VARIANTS)
def test_laws_hold_for_every_variant(policy: Policy) -> None:
    limit = 200 if policy.is_bounded else 2**31
    run(policy.with_budget(BUDGET), chunk_sizes(20), max_positions=limit, n_layers=10)


@pytest.mark.parametrize("policy", BOUNDED)
def test_laws_hold_when_positions_run_out(policy: Policy) -> None:
    stream = run(policy.with_budget(BUDGET), chunk_sizes(40), max_positions=60)
    assert stream.memory.current.next_position <= 60


@pytest.mark.parametrize("policy", PLAIN)
def test_the_same_seed_gives_the_same_plans(policy: Policy) -> None:
    first, second = (run(policy.with_budget(BUDGET), chunk_sizes(6), seed=7) for _ in range(2))
    for ours, theirs in zip(first.intervals, second.intervals, strict=True):
        assert_same_plans(ours.plan, theirs.plan)


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_a_restored_snapshot_goes_on_as_the_original_does(policy: Policy, tmp_path: Path) -> None:
    stream = run(policy.with_budget(BUDGET), chunk_sizes(7), seed=5)
    twin = through_a_file(stream, tmp_path / "past")
    ours, theirs = run_from(stream, chunk_sizes(5)), run_from(twin, chunk_sizes(5))
    for a, b in zip(ours, theirs, strict=True):
        assert_same_plans(a.plan, b.plan)
    assert held_identities(stream) == held_identities(twin)


@pytest.mark.parametrize("policy", PER_FRAME)
def test_a_rule_by_frames_does_not_depend_on_intervals(policy: Policy) -> None:
    """Whatever the intervals: the same tokens once the same frames were seen."""
    streams = [run(policy.with_budget(BUDGET), sizes) for sizes in ([1] * 24, [4] * 6, [7, 1, 16], [24])]
    expected = held_places(streams[0])
    assert all(held_places(stream) == expected for stream in streams)


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_what_is_forgotten_is_nowhere_and_the_stream_goes_on(policy: Policy) -> None:
    """The first frames, some on the way, the newest ones, everything from a moment on; soon and long after."""
    generator = torch.Generator().manual_seed(1)
    for frames, n_later in ((range(3), 2), (range(5, 7), 0), (range(9, 12), 0), (range(9, 12), 4), (range(7, 30), 0)):
        stream = FakeStream(policy.with_budget(BUDGET), n_layers=5, loud=frames)
        run_from(stream, [3, 1, 4, 2, 2, *chunk_sizes(n_later)])
        frames_seen, state, before = stream.memory.current.frames_seen, stream.state, copy.deepcopy(stream.state)
        stream.forget(frames)
        assert is_same(state, before), "a state was changed in place"
        assert stream.memory.current.frames_seen == frames_seen
        # What comes from now on is as others are.
        stream.loud = range(0)
        forgotten = range(frames.start, min(frames.stop, frames_seen))
        for n_frames in (0, 3, 1, 6):
            if n_frames:
                stream.advance(n_frames)
                assert_within_budget(stream)
            stream.memory.check_invariants()
            assert_forgotten(stream, forgotten, is_new=not n_frames)
            ask(stream, generator)
        assert_keys_stand_where_the_table_says(stream)


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
@pytest.mark.parametrize("size", [1, 5])
def test_a_budget_that_the_stream_never_fills_keeps_everything(policy: Policy, size: int) -> None:
    stream = run(policy.with_budget(10_000), [size] * 6)
    version = stream.memory.current
    n_tokens = 6 * size * stream.tokens_per_frame
    assert [held + version.features.n_rows for held in version.held_tokens] == [n_tokens] * stream.n_layers
    assert all(interval.probe_names == () for interval in stream.intervals)
    assert all(only_archives(interval) for interval in stream.intervals)


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_laws_hold_where_the_stream_is_exactly_the_budget(policy: Policy) -> None:
    """And one frame more."""
    run(policy.with_budget(8 * FakeStream.tokens_per_frame), [2, 1, 5, 1])


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_one_frame_at_a_time_asks_for_probes_only_when_rows_go(policy: Policy) -> None:
    stream = run(policy.with_budget(6), [1] * 8)
    for interval in stream.intervals:
        if interval.plan.layers is None:
            assert interval.probe_names == ()


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_an_interval_may_bring_more_than_the_budget(policy: Policy) -> None:
    run(policy.with_budget(6), [20, 1, 20])


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
def test_a_stream_without_frames_can_be_asked_about(policy: Policy) -> None:
    policy = policy.with_budget(BUDGET)
    stream = FakeStream(policy)
    view = stream.view()
    fresh_N = policy.view_for(view, stream.state, None).fresh_rows
    assert fresh_N is None or fresh_N.numel() == 0
    plan, _ = policy.after_chunk(view, stream.state)
    stream.memory.apply(plan)
    stream.memory.check_invariants()
    assert stream.memory.current.held_tokens == (0,) * stream.n_layers


@pytest.mark.parametrize("policy", BOUNDED)
def test_a_budget_below_one_frame_is_refused(policy: Policy) -> None:
    with pytest.raises(PolicyError, match=r"budget of 7 tokens cannot hold one frame of 8"):
        policy.with_budget(7).start(StreamFacts(n_layers=10, tokens_per_frame=8, family="any"))


@pytest.mark.parametrize("policy", BOUNDED)
def test_a_budget_is_needed_before_the_start(policy: Policy) -> None:
    with pytest.raises(PolicyError, match="has no budget yet"):
        policy.start(StreamFacts(n_layers=10, tokens_per_frame=8, family="any"))


@pytest.mark.parametrize("policy", PLAIN + VARIANTS)
@pytest.mark.parametrize("n_layers", [1, 9, 28])
def test_layer_groups_name_each_layer_once(policy: Policy, n_layers: int) -> None:
    groups = policy.layer_groups(n_layers).values()
    assert [layer for group in groups for layer in group] == list(range(n_layers))


def test_the_registry_is_sorted_and_described() -> None:
    assert list(POLICIES) == sorted(POLICIES)
    for name, policy_class in POLICIES.items():
        assert policy_class.name == name
        assert policy_class.describe().endswith(".")
