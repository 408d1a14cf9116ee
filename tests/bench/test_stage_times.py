"""Times of stages: nested ones count once, threads add up, and a device's clock is read at the end."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.bench.stage_times import Clock, StageTimes
from hermes_stream.stages import EVICT, PLACE, PROBE, TEXT, listening, stage

# What runs one after the other: a stage with its own seconds before and after what is inside it.
Tree = st.recursive(
    st.tuples(st.sampled_from([TEXT, PROBE, EVICT]), st.integers(0, 5), st.just([])),
    lambda inner: st.tuples(st.sampled_from([TEXT, PROBE, PLACE]), st.integers(0, 5), st.lists(inner, max_size=3)),
    max_leaves=8,
)


class FakeDevice:
    """Its time passes only when told."""

    def __init__(self) -> None:
        self.now = 0

    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda start, end: float(end - start))


@given(st.lists(Tree, max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_second_counts_once_and_for_the_innermost_stage(trees: list[object]) -> None:
    device, expected = FakeDevice(), dict[str, float]()
    times = StageTimes(device.clock())

    def run(tree: object) -> None:
        name, seconds, inner = tree
        expected[name] = expected.get(name, 0.0) + seconds
        with stage(name):
            device.now += seconds
            for part in inner:
                run(part)

    with listening(times):
        for tree in trees:
            run(tree)
    assert times.seconds() == expected
    assert sum(times.seconds().values()) == device.now


def test_threads_have_stages_of_their_own() -> None:
    device = FakeDevice()
    times = StageTimes(device.clock())

    def place() -> None:
        with stage(PLACE):
            device.now += 3

    with listening(times), stage(TEXT):
        thread = threading.Thread(target=place)
        thread.start()
        thread.join()
    # Side by side: what one thread does is not taken from what the other waits for.
    assert times.seconds() == {TEXT: 3.0, PLACE: 3.0}
