"""Time stamps that lie, one kind at a time."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.video.clock import PresentationClock, StampChooser

INTERVAL = Fraction(1, 25)


def placed(stamps_seconds: list[float | None]) -> tuple[list[tuple[int, float]], PresentationClock[int]]:
    """Run the clock; picture `i` has stamp `i`."""
    clock: PresentationClock[int] = PresentationClock()
    result: list[tuple[int, Fraction]] = []
    for index, stamp in enumerate(stamps_seconds):
        result += clock.place(index, None if stamp is None else Fraction(str(stamp)), INTERVAL)
    result += clock.flush()
    return [(index, float(seconds)) for index, seconds in result], clock


def test_seconds_count_from_the_first_picture() -> None:
    assert placed([7.0, 7.04, 7.5])[0] == [(0, 0.0), (1, 0.04), (2, 0.5)]


def test_pictures_without_stamps_follow_by_one_interval() -> None:
    assert placed([None, None, 9.0, None])[0] == [(0, 0.0), (1, 0.04), (2, 0.08), (3, 0.12)]


def test_a_picture_that_goes_back_a_little_is_dropped() -> None:
    result, clock = placed([0.0, 0.04, 0.04, 0.02, 0.08])
    assert [index for index, _ in result] == [0, 1, 4]
    assert clock.n_dropped == 2


def test_a_stamp_far_ahead_of_a_single_picture_is_dropped() -> None:
    result, clock = placed([0.0, 0.04, 186.5, 0.12, 0.16])
    assert result == [(0, 0.0), (1, 0.04), (3, 0.12), (4, 0.16)]
    assert (clock.n_dropped, clock.n_resets) == (1, 0)


def test_a_stamp_far_behind_of_a_single_picture_is_dropped() -> None:
    result, clock = placed([100.0, 100.04, 3.0, 100.12])
    assert result == [(0, 0.0), (1, 0.04), (3, 0.12)]
    assert (clock.n_dropped, clock.n_resets) == (1, 0)


def test_a_long_pause_is_believed() -> None:
    result, clock = placed([0.0, 60.0, 60.04, 500.0])
    assert result == [(0, 0.0), (1, 60.0), (2, 60.04), (3, 500.0)]
    assert (clock.n_dropped, clock.n_resets) == (0, 0)


def test_a_slide_show_is_believed() -> None:
    assert [seconds for _, seconds in placed([0.0, 30.0, 45.0, 80.0, 95.0])[0]] == [0.0, 30.0, 45.0, 80.0, 95.0]


def test_a_restarted_clock_goes_on_behind_the_last_picture() -> None:
    result, clock = placed([100.0, 100.04, 0.0, 0.04, 0.08])
    assert result == [(0, 0.0), (1, 0.04), (2, 0.08), (3, 0.12), (4, 0.16)]
    assert (clock.n_dropped, clock.n_resets) == (0, 1)


def test_a_doubtful_last_picture_is_believed() -> None:
    assert placed([0.0, 30.0])[0] == [(0, 0.0), (1, 30.0)]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e5, 1e5, allow_nan=False).map(lambda x: round(x, 2))), max_size=40))
def test_whatever_the_stamps_time_only_moves_forward_and_nothing_is_lost_uncounted(stamps: list[float | None]) -> None:
    result, clock = placed(stamps)
    indices = [index for index, _ in result]
    times_seconds = [seconds for _, seconds in result]
    assert indices == sorted(set(indices))
    assert all(before < after for before, after in pairwise(times_seconds))
    assert len(result) + clock.n_dropped == len(stamps)
    assert times_seconds[:1] in ([], [0.0])


def test_decoding_stamps_are_used_once_presentation_stamps_keep_going_back() -> None:
    chooser = StampChooser()
    stamps = [chooser.choose(pts, dts) for pts, dts in [(1, 2), (3, 3), (2, 4), (6, 5), (5, 6), (7, 7), (4, 8)]]
    assert stamps == [1, 3, 4, 5, 6, 7, 8]


def test_a_single_presentation_stamp_going_back_changes_nothing() -> None:
    chooser = StampChooser()
    stamps = [chooser.choose(index, index + 2) for index in range(50)]
    assert [*stamps, chooser.choose(20, 52), chooser.choose(51, 53)] == [*range(50), 20, 51]


def test_missing_stamps_stay_missing() -> None:
    chooser = StampChooser()
    assert [chooser.choose(*stamps) for stamps in [(None, None), (4, 2), (None, 3), (6, None)]] == [None, 4, None, 6]


def test_decoding_stamps_are_used_where_there_are_no_others() -> None:
    chooser = StampChooser()
    assert [chooser.choose(None, dts) for dts in (3, 4, 5)] == [3, 4, 5]
