"""Who lives, by one's own clock: judged dead not before one that cannot be heard has stopped by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.server.fleet.heartbeats import Heartbeats

from .actors import DictStore

_TTL_SECONDS = 10.0


class _Clock:
    """Of one server; two of them need not agree, nor have begun together."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_one_that_beats_lives_and_one_that_does_not_is_dead_after_its_time() -> None:
    store, clock = DictStore(), _Clock(0.0)
    one, other = (Heartbeats(store, name, _TTL_SECONDS, clock) for name in ("one", "other"))
    one.join()
    other.join()
    one.look()
    clock.now = 9.9
    one.look()
    assert (one.is_dead("other"), one.alive()) == (False, ["one", "other"])
    clock.now = 10.0
    assert (one.is_dead("other"), one.is_dead("one"), one.is_dead("never seen")) == (True, False, True)
    other.beat(["a"])
    one.look()
    assert not one.is_dead("other")
    other.beat(["a", "b"], is_leaving=True)
    one.look()
    assert one.is_dead("other")
    assert one.dead()["other"][0].watching == ("a", "b")
    one.remove("other")
    one.look()
    assert one.alive() == ["one"]
    assert one.dead() == {}


@settings(deadline=None)
@given(
    st.floats(0, 1e6),
    st.lists(st.tuples(st.floats(0, 4), st.sampled_from(["beat", "look", "neither"])), max_size=60),
)
def test_whoever_is_judged_dead_has_been_unsure_of_itself_before(
    offset_seconds: float, steps: list[tuple[float, str]]
) -> None:
    """Clocks that go equally fast, whatever they show; beats and looks in any order."""
    store, mine, others = DictStore(), _Clock(offset_seconds), _Clock(0.0)
    watched = Heartbeats(store, "watched", _TTL_SECONDS, mine)
    watcher = Heartbeats(store, "watcher", _TTL_SECONDS, others)
    watched.join()
    watcher.look()
    for seconds, what in steps:
        mine.now += seconds
        others.now += seconds
        if what == "beat":
            watched.beat(())
        elif what == "look":
            watcher.look()
        if watcher.is_dead("watched"):
            watcher.look()
        if watcher.is_dead("watched"):
            assert not watched.is_sure
