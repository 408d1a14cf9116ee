"""Intervals against the bootstrap's definition, and on data whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.evals.resampling import draw_episodes, score, scores_by
from tests.oracles.bootstrap_oracle import interval

# Values of the questions of each episode: verdicts, or differences of two verdicts. Episodes may have no questions.
EPISODES = st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=5), min_size=1, max_size=6).filter(any)


def flat(values: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    episode_N = [index for index, of_episode in enumerate(values) for _ in of_episode]
    return np.array(list(itertools.chain(*values))), np.array(episode_N, dtype=np.int64)


@given(values=EPISODES, seed=st.integers(0, 99))
def test_intervals_are_those_of_the_definition(values: list[list[float]], seed: int) -> None:
    times_drawn_BE = draw_episodes(len(values), n_resamples=40, seed=seed)
    draws = [np.repeat(np.arange(len(values)), times_E).tolist() for times_E in times_drawn_BE]
    got = score(*flat(values), times_drawn_BE)
    expected = interval(values, draws)
    assert got["n"] == sum(map(len, values))
    assert got["accuracy"] == pytest.approx(sum(map(sum, values)) / got["n"], abs=5.1e-5)
    if expected is None:
        assert (got["low"], got["high"]) == (None, None)
    else:
        assert (got["low"], got["high"]) == pytest.approx(expected, abs=5.1e-5)


def test_draws_are_as_many_episodes_with_replacement() -> None:
    """Against all 27 ways to draw three episodes: how often each multiset comes."""
    times_drawn_BE = draw_episodes(3, n_resamples=27_000)
    assert (times_drawn_BE.sum(axis=1) == 3).all()
    found, n = np.unique(times_drawn_BE, axis=0, return_counts=True)
    ways: dict[tuple[int, ...], int] = {}
    for drawn in itertools.product(range(3), repeat=3):
        times = tuple(drawn.count(episode) for episode in range(3))
        ways[times] = ways.get(times, 0) + 1
    assert {tuple(row) for row in found.tolist()} == set(ways)
    # Binomial: 6 standard deviations of 27,000 draws are less than 500.
    assert all(abs(count - 1000 * ways[tuple(row)]) < 500 for row, count in zip(found.tolist(), n.tolist()))


def test_the_same_seed_gives_the_same_draws() -> None:
    np.testing.assert_array_equal(draw_episodes(5), draw_episodes(5))
    assert (draw_episodes(5) != draw_episodes(5, seed=1)).any()


def test_questions_that_stand_and_fall_together_widen_the_interval() -> None:
    """The same 400 verdicts: alike within 20 episodes, or spread over them."""
    together = np.repeat(np.arange(20) % 2, 20).astype(float)
    spread = np.tile(np.arange(20) % 2, 20).astype(float)
    episode_N = np.repeat(np.arange(20), 20)
    wide, narrow = (score(value_N, episode_N, draw_episodes(20)) for value_N in (together, spread))
    assert wide["accuracy"] == narrow["accuracy"] == 0.5
    # Of episodes alike within: 1.96 standard errors of 20 coin tosses.
    assert wide["high"] - wide["low"] == pytest.approx(2 * 1.96 * (0.25 / 20) ** 0.5, rel=0.15)
    assert narrow["high"] == narrow["low"] == 0.5


def test_a_planted_difference_is_found_where_episodes_differ_more_than_memories() -> None:
    """Pairing takes out what makes an episode hard for everybody."""
    random = np.random.default_rng(0)
    episode_N = np.repeat(np.arange(30), 40)
    hardness_N = np.repeat(random.uniform(0.1, 0.9, 30), 40)
    luck_N = random.uniform(size=1200)
    worse_N, better_N = (luck_N < hardness_N - 0.03) * 1.0, (luck_N < hardness_N + 0.03) * 1.0
    times_drawn_BE = draw_episodes(30)
    worse, better = (score(value_N, episode_N, times_drawn_BE) for value_N in (worse_N, better_N))
    difference = score(better_N - worse_N, episode_N, times_drawn_BE)
    assert worse["high"] > better["low"]
    assert 0.03 < difference["low"] < 0.06 < difference["high"] < 0.09


def test_groups_are_scored_apart_and_in_order() -> None:
    value_N, episode_N = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0, 0, 1, 1])
    times_drawn_BE = draw_episodes(2)
    scores = scores_by(["b", "a", "b", "a"], value_N, episode_N, times_drawn_BE)
    assert list(scores) == ["a", "b"]
    assert scores["b"] == score(value_N[[0, 2]], episode_N[[0, 2]], times_drawn_BE)
    assert (scores["a"]["accuracy"], scores["a"]["n"]) == (0.5, 2)
