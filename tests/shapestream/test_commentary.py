"""The truth of commentary, against scripts written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import Kind, Presence, Scene, Script, make_script
from hermes_stream.shapestream.commentary import (
    ANNOUNCEMENTS,
    Event,
    announcements_in,
    commentary_events,
    events_to_json,
    spoken_words,
)

_CIRCLE = Presence(
    Kind("red", "circle"), "blue", 1.0, 5.0, "small", 1, "left", "left", 1.0, 1.0, slides_in=True, slides_out=False
)
_TURNED = replace(_CIRCLE, kind=Kind("green", "circle"), start_seconds=5.0, end_seconds=9.0, slides_in=False)
_LEAVING = replace(_TURNED, slides_out=True)
_STAR = replace(_CIRCLE, kind=Kind("white", "star"), room="gray", start_seconds=10.5, end_seconds=14.0, slides_out=True)


def _script(*presences: Presence, duration: float = 15.0) -> Script:
    scenes = (
        Scene(0.0, 9.25, "blue", "plain", 0.5, 0.0, None, tuple(p for p in presences if p.room == "blue")),
        Scene(9.25, 15.0, "gray", "plain", 0.5, 0.0, None, tuple(p for p in presences if p.room == "gray")),
    )
    return Script(0, duration, scenes)


def test_what_enters_turns_leaves_and_which_room_comes_is_announced_when_it_can_be_seen() -> None:
    events = commentary_events(_script(_CIRCLE, _LEAVING, _STAR), fps=2.0)
    assert events == [
        Event(0.0, "blue room"),
        Event(1.5, "red circle enters"),
        Event(5.0, "circle turns green"),
        Event(9.0, "green circle leaves"),
        Event(9.25, "gray room"),
        Event(11.0, "white star enters"),
        Event(14.0, "white star leaves"),
    ]


def test_nothing_is_announced_from_the_end_of_the_script_on() -> None:
    events = commentary_events(_script(_CIRCLE, _LEAVING, _STAR, duration=10.0), fps=2.0)
    assert events[-1] == Event(9.25, "gray room")


def test_what_a_slow_viewer_can_miss_does_not_count() -> None:
    brief = replace(_LEAVING, end_seconds=7.0)  # 1.5 s wholly on screen
    events = commentary_events(_script(_CIRCLE, brief, _STAR), fps=0.5)
    texts = [event.text for event in events]
    assert "red circle enters" in texts
    assert not any("turns" in text or "green" in text for text in texts)


def test_words_are_spread_from_the_first_frame_that_shows_it_to_the_end_of_its_second() -> None:
    words = spoken_words([Event(1.3, "red circle enters")], fps=2.0)
    assert [word.text for word in words] == ["red", "circle", "enters"]
    assert [word.start_seconds for word in words] == pytest.approx([1.5, 1.5 + 1 / 6, 1.5 + 2 / 6])
    assert words[-1].end_seconds == 2.0


def test_what_no_frame_of_a_second_shows_any_more_is_said_in_the_next() -> None:
    words = spoken_words([Event(1.6, "blue room"), Event(2.0, "red star enters")], fps=2.0)
    assert [(word.text, int(word.start_seconds + 1e-6)) for word in words] == [
        ("blue", 2), ("room", 2), ("red", 2), ("star", 2), ("enters", 2),
    ]  # fmt: skip


@given(seed=st.integers(0, 10_000), fps=st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_words_never_overlap_nor_are_20_in_a_second_and_say_the_events_in_order(seed: int, fps: float) -> None:
    events = commentary_events(make_script(seed, 120.0), fps=fps)
    words = spoken_words(events, fps=fps)
    assert " ".join(word.text for word in words) == " ".join(event.text for event in events)
    for earlier, later in pairwise(words):
        assert earlier.start_seconds < earlier.end_seconds <= later.start_seconds + 1e-9
    for second in range(122):
        assert sum(second < word.end_seconds <= second + 1 for word in words) < 20


@given(texts=st.lists(st.sampled_from(sorted(ANNOUNCEMENTS)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_announcements_are_found_again_in_running_text(texts: list[str]) -> None:
    assert announcements_in(" ".join(texts)) == texts


def test_words_that_announce_nothing_are_passed_over() -> None:
    assert announcements_in("and red circle enters blue") == ["red circle enters"]


def test_rows_have_a_time_and_a_text() -> None:
    assert json.loads(events_to_json([Event(1.23456, "blue room")])) == [{"time_s": 1.235, "text": "blue room"}]


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="fps"):
        commentary_events(make_script(1, 10.0), fps=0.0)
