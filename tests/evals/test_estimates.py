"""Numbers, intervals and differences against loops over resamples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.evals.estimates import Estimator, by_delay, differences, sorted_delays, task_names
from hermes_stream.evals.resampling import draw_episodes
from hermes_stream.evals.scores import Average, Mark, Scores
from tests.oracles import estimates_oracle as oracle

VIDEOS, TASKS = ("u", "v", "w", "x"), ("p", "q", "r")
AVERAGES = (
    Average("all", TASKS),
    Average("two", ("p", "q"), "even"),
    Average("r alone", ("r",)),
    Average("top", ("two", "r alone"), "even"),
    Average("out of five", ("p",), scale=5.0),
)

mark_lists = st.lists(
    st.tuples(st.sampled_from(VIDEOS), st.sampled_from(TASKS), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=30,
)


def scores_of(marks: oracle.Marks, **more: object) -> Scores:
    made = [
        Mark(key=str(index), task=task, video=video, value=value, **more)  # type: ignore[arg-type]
        for index, (video, task, value) in enumerate(marks)
    ]
    return Scores("strict", tuple(made), AVERAGES)


@settings(max_examples=25, deadline=None)
@given(mark_lists)
def test_cells_are_those_of_the_definition(marks: oracle.Marks) -> None:
    videos = list(dict.fromkeys(video for video, _, _ in marks))
    estimator = Estimator(video for video, _, _ in marks)
    draws = [dict(zip(videos, map(int, row), strict=True)) for row in draw_episodes(len(videos))]
    resampled = [oracle.drawn(marks, times) for times in draws]
    for name, expected, of_draws in (
        ("all", oracle.pooled(marks, TASKS), [oracle.pooled(each, TASKS) for each in resampled]),
        ("two", oracle.even(marks, ["p", "q"]), [oracle.even(each, ["p", "q"]) for each in resampled]),
    ):
        cell = estimator.cell(scores_of(marks), name)
        if expected is None:
            assert cell is None
            continue
        assert cell is not None
        assert cell["value"] == pytest.approx(100 * expected, abs=0.006)
        if cell["low"] is not None:
            low, high = oracle.bounds(of_draws)
            assert (cell["low"], cell["high"]) == pytest.approx((100 * low, 100 * high), abs=0.02)


def test_means_of_means_and_scales() -> None:
    marks = [("u", "p", 1.0), ("u", "p", 0.0), ("v", "p", 0.0), ("u", "q", 1.0), ("v", "r", 1.0)]
    cells = Estimator(VIDEOS).cells(scores_of(marks), [average.name for average in AVERAGES])
    values = {name: cell["value"] for name, cell in cells.items()}
    assert values == {"all": 60.0, "two": 66.67, "r alone": 100.0, "top": 83.33, "out of five": 1.67}
    assert {name: cell["n"] for name, cell in cells.items()}["top"] == 5


def test_one_video_has_no_interval() -> None:
    cell = Estimator(["u"]).cell(scores_of([("u", "p", 1.0), ("u", "p", 0.0)]), "p")
    assert cell == {"value": 50.0, "low": None, "high": None, "n": 2}


def test_a_number_of_which_a_part_is_missing_is_not_shown() -> None:
    assert "top" not in Estimator(VIDEOS).cells(scores_of([("u", "p", 1.0), ("v", "q", 1.0)]), ["p", "two", "top"])


def test_a_difference_is_of_the_same_questions_and_its_interval_knows_they_are_paired() -> None:
    """Two memories that are right about the same videos differ by nothing, however much the videos differ."""
    marks = [(video, "p", float(video in "uv")) for video in VIDEOS for _ in range(5)]
    estimator = Estimator(VIDEOS)
    alone = estimator.cell(scores_of(marks), "p")
    assert alone is not None
    assert alone["low"] != alone["high"]
    above = estimator.cell(differences(scores_of(marks), scores_of(marks)), "p")
    assert above == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 20}
    better = [(video, "p", 1.0) for video, _, _ in marks]
    assert estimator.cell(differences(scores_of(better), scores_of(marks)), "p") == pytest.approx(
        {"value": 50.0, "low": 0.0, "high": 100.0, "n": 20}
    )


def test_a_difference_leaves_out_what_one_of_them_does_not_count() -> None:
    marks = [("u", "p", 1.0), ("v", "p", 1.0)]
    counted, not_counted = scores_of(marks), scores_of(marks, is_counted=False)
    assert differences(counted, not_counted).marks == ()
    assert len(differences(counted, counted).marks) == 2


def test_delays_are_in_octaves_the_shortest_first_and_unknown_ones_left_out() -> None:
    delays = {"a": 0.0, "b": 0.4, "c": 5.0, "d": 300.0, "e": None, "f": 9.0}
    marks = tuple(
        Mark(key=key, task="p", video="u", value=1.0, groups=("g",), delay_seconds=delay)
        for key, delay in delays.items()
    )
    binned = by_delay(Scores("strict", marks, AVERAGES))
    cells = sorted_delays(Estimator(VIDEOS).cells(binned, task_names(binned)))
    assert list(cells) == ["0", "0-1", "4-8", "8-16", "256-512"]
    assert {cell["n"] for cell in cells.values()} == {1}
