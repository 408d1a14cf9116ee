"""How old what a memory holds is: the histogram that goes with every result."""

from __future__ import annotations

import numpy as np
import pytest

from hermes_stream import KeepAll, RecentFrames, SlidingWindow
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.policies.base import Policy
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.rekv import ReKV
from hermes_stream.policies.tiered import Tiered
from hermes_stream.viz.memory_map import kept_ages
from tests.policies.harness import FakeStream


def watched(policy: Policy) -> FakeStream:
    stream = FakeStream(policy)
    for _ in range(20):
        stream.advance(2)
    return stream


def test_an_even_sample_is_flat_and_a_window_is_young() -> None:
    np.testing.assert_allclose(kept_ages(watched(KeepAll()).memory.current), np.full((10, 10), 0.1))
    window = kept_ages(watched(SlidingWindow(budget=12)).memory.current)
    np.testing.assert_allclose(window, np.eye(10)[[0] * 10])


@pytest.mark.parametrize("n_bins", [1, 7, 10])
def test_counts_by_hand(n_bins: int) -> None:
    version = watched(Hermes(budget=24)).memory.current
    shares = kept_ages(version, n_bins)
    for layer, row in zip(version.layers, shares, strict=True):
        counts = [0] * n_bins
        for kind, frame in zip(layer.table.kind_HN[0].tolist(), layer.table.frame_HN[0].tolist(), strict=True):
            if kind == TokenKind.VISION:
                counts[(version.grids_seen - 1 - frame) * n_bins // version.grids_seen] += 1
        np.testing.assert_allclose(row, np.array(counts) / sum(counts))


def test_frames_that_wait_beside_the_memory_count() -> None:
    """Four of them, the newest of the forty: all within the newest tenth, in every layer."""
    version = watched(RecentFrames(budget=24, frames=4)).memory.current
    assert version.features.table.frame_HN.unique().tolist() == [36, 37, 38, 39]
    np.testing.assert_allclose(kept_ages(version), np.eye(10)[[0] * 10])
    np.testing.assert_allclose(kept_ages(version, 20), np.full((10, 20), [0.5, 0.5, *[0.0] * 18]))


def test_archived_tokens_count_once() -> None:
    """Forty frames, all of them within the two tiers: an even spread; those that are still held count there."""
    version = watched(Tiered(budget=100, near=0)).memory.current
    assert version.archived_tokens[0] > 100
    np.testing.assert_allclose(kept_ages(version), np.full((10, 10), 0.1))
    everything = watched(ReKV(budget=24)).memory.current
    assert everything.held_tokens[0] + everything.archived_tokens[0] > 120
    np.testing.assert_allclose(kept_ages(everything), np.full((10, 10), 0.1))
