"""How many replicas are wanted: enough room for all sessions, more where streams are behind, never up and down."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.server.fleet.scaling import LAG, SHARE, Load, wanted_on_ray, wanted_replicas

_LOADS = st.lists(st.builds(Load, st.floats(0, 1), st.floats(0, 10)), min_size=1, max_size=12)


def test_memory_asks_for_room_before_it_is_full() -> None:
    assert wanted_replicas([Load(0.69, 0.0)], 1) == 1
    assert wanted_replicas([Load(0.75, 0.0)], 1) == 2
    assert wanted_replicas([Load(0.9, 0.0), Load(0.9, 0.0)], 2) == 3


def test_each_replica_that_is_behind_asks_for_one_more() -> None:
    assert wanted_replicas([Load(0.1, 3.0), Load(0.1, 0.5), Load(0.1, 9.0)], 3) == 5


def test_it_goes_down_one_at_a_time_and_not_while_anybody_is_behind() -> None:
    assert wanted_replicas([Load(0.0, 0.0)] * 5, 5) == 4
    assert wanted_replicas([Load(0.0, 0.0)], 1) == 1
    assert wanted_replicas([*[Load(0.0, 0.0)] * 4, Load(0.0, 3.0)], 5) == 6


@settings(deadline=None)
@given(_LOADS)
def test_after_a_step_down_the_same_memory_does_not_ask_for_a_step_up(loads: list[Load]) -> None:
    loads = [Load(load.memory_share, 0.0) for load in loads]
    n = len(loads)
    wanted = wanted_replicas(loads, n)
    if wanted < n:
        share = sum(load.memory_share for load in loads) / wanted
        if share <= 1:
            assert wanted_replicas([Load(share, 0.0)] * wanted, wanted) <= wanted


@settings(deadline=None)
@given(_LOADS, st.integers(0, 3))
def test_more_load_never_asks_for_fewer(loads: list[Load], index: int) -> None:
    n = len(loads)
    more = list(loads)
    more[index % n] = Load(1.0, 10.0)
    assert wanted_replicas(more, n) >= wanted_replicas(loads, n) >= 1


def test_what_ray_hands_over_is_read_and_replicas_that_have_not_reported_change_nothing() -> None:
    metrics = {SHARE: {"r1": 0.9, "r2": 0.8}, LAG: {"r1": 0.0}}
    assert wanted_on_ray(SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=2))[0] == 3
    assert wanted_on_ray(SimpleNamespace(aggregated_metrics=None, target_num_replicas=2))[0] == 2
