"""Attention sinks: the first rows and the newest, without a gap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Positions
from hermes_stream.policies.attention_sinks import AttentionSinks
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.sliding_window import SlidingWindow

from ..oracles.eviction_oracle import sinks_and_window
from .test_sampling import held_identities, stream_of


def test_the_first_and_the_newest_rows_stand_in_neighbouring_slots() -> None:
    """The specification's example: s = 2, W = 4, tokens 0 to 7; a prefix of one stands in slot 0."""
    stream = stream_of(AttentionSinks(budget=6, sinks=2), 8)
    assert held_identities(stream) == [0, 1, 4, 5, 6, 7]
    assert stream.memory.current.layers[1].table.position_RHN[0, 0, 1:].tolist() == [1, 2, 3, 4, 5, 6]
    assert stream.memory.current.next_position == 7


@settings(max_examples=40, deadline=None)
@given(sinks=st.integers(0, 5), window=st.integers(3, 7), n_frames=st.integers(1, 20), chunk=st.integers(1, 6))
def test_held_rows_equal_the_oracle_for_any_interval(sinks: int, window: int, n_frames: int, chunk: int) -> None:
    stream = stream_of(AttentionSinks(budget=sinks + window, sinks=sinks), n_frames, tokens_per_frame=3, chunk=chunk)
    expected = sinks_and_window(3 * n_frames, 3 * chunk, sinks, window)
    assert held_identities(stream) == expected
    position_N = stream.memory.current.layers[0].table.position_RHN[0, 0, 1:]
    assert position_N.tolist() == list(range(1, 1 + len(expected)))


def test_without_sinks_it_is_a_window() -> None:
    """Limit case: a compact window of frames that are one token each."""
    ours = stream_of(AttentionSinks(budget=5, sinks=0), 12)
    window = stream_of(SlidingWindow(budget=5, positions=Positions.COMPACT), 12)
    for a, b in zip(ours.memory.current.layers, window.memory.current.layers, strict=True):
        assert a.table.data_CHN.equal(b.table.data_CHN)
        assert a.keys.equal(b.keys)


def test_sinks_that_fill_the_budget_are_refused() -> None:
    with pytest.raises(PolicyError, match="6 sinks leave no room for new tokens in a budget of 6"):
        AttentionSinks(budget=6, sinks=6).start(StreamFacts(n_layers=2, tokens_per_frame=3, family="any"))
