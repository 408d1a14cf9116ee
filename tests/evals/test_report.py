"""Rows from records, on verdicts planted by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hermes_stream.errors import ConfigError
from hermes_stream.evals.alone import TimesAlone
from hermes_stream.evals.episodes import are_held_back, check_lengths, episode_seeds, make_episodes
from hermes_stream.evals.estimates import delay_bin
from hermes_stream.evals.lineup import Entry, Lineup, make_entries, quarter_of_keep_all
from hermes_stream.evals.report import report
from hermes_stream.evals.run import Record, Verdict
from hermes_stream.models.load import load_adapter
from hermes_stream.shapestream import Question

ASKED = [
    Question(3.0, "What is it?", "red ring", "real-time", "object", 0.0),
    Question(5.0, "What came before?", "red ring", "backward", "before", 3.1),
    Question(9.0, "What came first?", "red ring", "backward", "first", 0.7),
    Question(9.0, "Now?", "now", "forward", "alert", 0.0, 8.0),
]


@pytest.fixture(scope="module")
def lineup(llava_folder: Path) -> Iterator[Lineup]:
    with Lineup(load_adapter(str(llava_folder))) as lineup:
        yield lineup


def record(entry: Entry, right: str, held: int = 18) -> Record:
    """Two episodes with the four questions each. right: "1" or "0" for each of the eight."""
    verdicts = [
        Verdict(index // 4, ASKED[index % 4], mark == "1", (held, held + 2), 1000 * held)
        for index, mark in enumerate(right)
    ]
    ages = [np.eye(10)[0], np.eye(10)[1]]
    return Record(entry, 18, verdicts, ages, TimesAlone(0.0123, 0.0456))


def test_counts_by_hand(lineup: Lineup) -> None:
    (row,) = report([lineup], [[record(Entry("hermes", 18), "10111011")]], 2)
    assert row["policy"] == "hermes"
    assert (row["accuracy"], row["n"], row["budget"]) == (0.75, 8, 18)
    assert {name: (cell["accuracy"], cell["n"]) for name, cell in row["regime"].items()} == {
        "real-time": (1.0, 2),
        "backward": (0.5, 4),
        "forward": (1.0, 2),
    }
    assert list(row["regime"]) == ["real-time", "backward", "forward"]
    assert {name: cell["accuracy"] for name, cell in row["task"].items()} == {
        "alert": 1.0, "before": 0.0, "first": 1.0, "object": 1.0,
    }  # fmt: skip
    assert {name: (cell["accuracy"], cell["n"]) for name, cell in row["recall_delay"].items()} == {
        "0": (1.0, 4), "0-1": (1.0, 2), "2-4": (0.0, 2),
    }  # fmt: skip
    assert (row["held_tokens"], row["held_tokens_max"], row["bytes"]) == (19, 20, 18_000)
    # 3 x 3 tokens a frame.
    assert row["share_of_64_frames"] == pytest.approx(19 / (64 * 9), abs=1e-4)
    assert row["kept_by_age_tenths_newest_first"] == [0.5, 0.5, *[0.0] * 8]
    assert (row["ttft_ms"], row["ingest_ms_per_frame"]) == (12.3, 45.6)
    assert row["difference"] is None


def test_differences_are_with_the_first_memory_at_the_same_budget(lineup: Lineup) -> None:
    records = [
        record(Entry("uniform", 18), "11111111"),
        record(Entry("uniform", 36), "00000000"),
        record(Entry("hermes", 18), "10111011"),
        record(Entry("hermes", 36), "10111011"),
        record(Entry("keep-all"), "11111111"),
    ]
    rows = report([lineup], [records], 2)
    assert [row["difference"] and row["difference"]["accuracy"] for row in rows] == [None, None, -0.25, 0.75, None]
    assert rows[2]["difference"]["to"] == {"policy": "uniform", "budget": 18}
    assert rows[2]["difference"]["regime"]["backward"]["accuracy"] == -0.5
    # Both episodes differ alike: no resample can differ otherwise.
    assert (rows[2]["difference"]["low"], rows[2]["difference"]["high"]) == (-0.25, -0.25)
    without_bounds = report([lineup], [[records[4], records[2], records[3]]], 2)
    assert [row["difference"] and row["difference"]["accuracy"] for row in without_bounds] == [None, -0.25, -0.25]


def test_one_episode_has_no_interval(lineup: Lineup) -> None:
    (row,) = report([lineup], [[record(Entry("hermes", 18), "1011")]], 1)
    assert (row["accuracy"], row["low"], row["high"]) == (0.75, None, None)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [(0, (0, 0)), (0.01, (0, 1)), (1, (1, 2)), (1.99, (1, 2)), (2, (2, 4)), (63.9, (32, 64)), (3377.8, (2048, 4096))],
)
def test_bins_of_delays_are_octaves(delay: float, expected: tuple[float, float]) -> None:
    assert delay_bin(delay) == expected


def test_entries_without_bounds_or_with_a_budget_of_their_own_come_once() -> None:
    memories = ["keep-all", "hermes(budget=9)", "uniform"]
    assert make_entries(memories, [16, "1MiB"]) == [
        Entry("keep-all"),
        Entry("hermes(budget=9)"),
        Entry("uniform", 16),
        Entry("uniform", "1MiB"),
    ]


def test_a_memory_that_runs_out_of_positions_is_refused_before_anything_is_watched(lineup: Lineup) -> None:
    """512 positions, 9 a frame, 1 frame a second."""
    lineup.enter([Entry("keep-all"), Entry("sliding-window", 18)], 20)
    with pytest.raises(ConfigError, match=r"keep-all needs .* positions for 60 s, but .* has 512"):
        lineup.enter([Entry("keep-all")], 60)
    lineup.enter([Entry("sliding-window", 18)], 6000)


def test_a_quarter_of_all_tokens(lineup: Lineup) -> None:
    assert quarter_of_keep_all(lineup.engine, 40) == 90


def test_seeds_are_of_one_range() -> None:
    assert episode_seeds(900_000, 2) == range(900_000, 900_002)
    assert are_held_back(episode_seeds(999_999, 1))
    assert not are_held_back(episode_seeds(899_999, 1))
    for first, n, message in (
        (899_999, 2, "not of one range"),
        (999_999, 2, "not of one range"),
        (-1, 1, "not of one"),
        (5, 0, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            episode_seeds(first, n)


def test_questions_are_of_the_wanted_regimes_and_there_are_some() -> None:
    episodes = make_episodes(range(900_000, 900_002), seconds=20, fps=1, every_seconds=1, regimes=("backward",))
    assert [episode.seed for episode in episodes] == [900_000, 900_001]
    assert {question.label.regime for episode in episodes for question in episode.questions} == {"backward"}
    with pytest.raises(ConfigError, match="have none of backward"):
        make_episodes(range(900_000, 900_001), seconds=1, fps=1, every_seconds=1, regimes=("backward",))
    with pytest.raises(ConfigError, match="did you mean backward"):
        check_lengths(1, 1, ("backwards",))
