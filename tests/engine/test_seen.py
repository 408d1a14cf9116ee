"""The log of what a stream had seen: true at every moment, and no longer than it may be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.engine import seen as seen_module
from hermes_stream.engine.seen import Moment, SeenLog

# Grids, piece by piece: how long after the one before each begins, how long it lasts, how many tokens it has.
pieces = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=4), max_size=12
)


def logged(grids: list[list[tuple[int, int, int]]]) -> tuple[SeenLog, list[tuple[int, int]], list[Moment]]:
    """The log, and all that went into it."""
    log, seconds, moments, at, tokens = SeenLog(), [], [], 0, 0
    for piece in grids:
        first = len(seconds)
        for wait, length, n_tokens in piece:
            seconds.append((at + wait, at + wait + length))
            at, tokens = at + wait + length, tokens + n_tokens
            moments.append(Moment(2 * len(seconds), len(seconds), tokens, 10 * tokens, 7, len(seconds) // 3))
        log = log.append(seconds[first:], moments[first:])
    return log, seconds, moments


@given(grids=pieces)
def test_every_moment_is_known(grids: list[list[tuple[int, int, int]]]) -> None:
    log, seconds, moments = logged(grids)
    end = seconds[-1][1] if seconds else 0
    for time in [quarter / 4 for quarter in range(-4, 4 * end + 8)]:
        whole = [index for index, (_, last) in enumerate(seconds) if last <= time]
        torn = [index for index, (first, last) in enumerate(seconds) if first <= time < last]
        found = log.at(time)
        assert found.moment == (moments[whole[-1]] if whole else Moment())
        assert found.newest_seconds == (seconds[whole[-1]][1] if whole else None)
        assert found.is_certain == (not torn)
        if torn:
            before = moments[torn[0] - 1].tokens if torn[0] else 0
            assert found.torn_tokens == moments[torn[0]].tokens - before
        until = log.until(time)
        assert until.newest == found.moment
        assert until.at(1e9).is_certain
    assert log.newest == (moments[-1] if moments else Moment())


@settings(deadline=None)
@given(grids=pieces, most=st.sampled_from([4, 8, 1024]), a=st.integers(-1, 40), b=st.integers(0, 40))
def test_what_is_old_is_known_in_runs(grids: list[list[tuple[int, int, int]]], most: int, a: int, b: int) -> None:
    """Counts are never above the truth, and certain ones are the truth; ranges hold all grids that were touched."""
    usual, seen_module.MOST_ENTRIES = seen_module.MOST_ENTRIES, most
    try:
        log, seconds, moments = logged(grids)
    finally:
        seen_module.MOST_ENTRIES = usual
    assert log.n_entries <= most
    for time in range(-1, (seconds[-1][1] if seconds else 0) + 2):
        whole = [index for index, (_, last) in enumerate(seconds) if last <= time]
        truth, found = moments[whole[-1]] if whole else Moment(), log.at(time)
        assert found.moment.grids <= truth.grids
        assert found.moment.tokens <= truth.tokens
        if found.is_certain:
            assert found.moment == truth
    touched = [index for index, (first, last) in enumerate(seconds) if first < a + b and last >= a]
    found_range = log.grids_within(a, a + b)
    assert set(touched) <= set(found_range)
    if most == 1024:
        assert list(found_range) == touched
