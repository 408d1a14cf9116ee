"""Spoken commentary of a script with exact truth: what enters, changes colour or leaves, and which room comes.

Everything else is silence. An event happens when it can be seen: a thing that slides in once it stands, one that slides
out once it is gone. A viewer who samples frames learns of it with the next one, and speaks within that second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.script import COLORS, ENTER_SECONDS, ROOMS, SHAPES, Presence, Script
from hermes_stream.types import TimedWord

# What was on screen at a moment that is meant to be a frame's must not be missed for a rounding.
_TIME_SLACK = 1e-6
_TEXT_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, when, and how it is announced."""

    time_seconds: float
    text: str


# Every way in which something can be announced; no announcement is part of another one.
ANNOUNCEMENTS = frozenset(
    [f"{color} {shape} {verb}" for color in COLORS for shape in SHAPES for verb in ("enters", "leaves")]
    + [f"{shape} turns {color}" for shape in SHAPES for color in COLORS]
    + [f"{room} room" for room in ROOMS]
)
LONGEST_ANNOUNCEMENT_WORDS = 3


def commentary_events(script: Script, *, fps: float) -> list[Event]:
    """All events of `[0, duration_seconds)` that a viewer who samples `fps` frames a second cannot miss, in time order.

    A room or a thing counts if it is wholly on screen for one sampling interval at least; a change of colour if both
    colours do. Raises ConfigError for a rate that is not positive.
    """
    if not fps > 0:
        raise ConfigError(f"fps must be above 0, got {fps}")
    interval_seconds = 1 / fps - _TIME_SLACK
    events = [
        Event(scene.start_seconds, f"{scene.room} room")
        for scene in script.scenes
        if scene.end_seconds - scene.start_seconds >= interval_seconds
    ]
    earlier: Presence | None = None
    for presence in script.presences:
        if _stands_seconds(presence) >= interval_seconds:
            events.extend(_events_of(presence, earlier))
            earlier = presence
        else:
            earlier = None
    known = (event for event in events if event.time_seconds < script.duration_seconds)
    return sorted(known, key=lambda event: event.time_seconds)


def _events_of(presence: Presence, earlier: Presence | None) -> Iterator[Event]:
    """earlier: the presence before it, if that can be seen."""
    if presence.slides_in:
        yield Event(presence.start_seconds + ENTER_SECONDS, f"{presence.kind} enters")
    elif earlier is not None:
        yield Event(presence.start_seconds, f"{presence.kind.shape} turns {presence.kind.color}")
    if presence.slides_out:
        yield Event(presence.end_seconds, f"{presence.kind} leaves")


def _stands_seconds(presence: Presence) -> float:
    """How long it is wholly on screen."""
    sliding = ENTER_SECONDS * (presence.slides_in + presence.slides_out)
    return presence.end_seconds - presence.start_seconds - sliding


def spoken_words(events: Iterable[Event], *, fps: float, step_seconds: float = 1.0) -> list[TimedWord]:
    """The words of a viewer who samples `fps` frames a second and says what each step of time brought before it ends.

    Steps begin at 0; an event belongs to the step of the first frame at or after it. Its words are spread evenly from
    that frame to the end of the step, those of later events of the same step behind them. In time order.
    """
    words: list[TimedWord] = []
    in_order = sorted(events, key=lambda event: event.time_seconds)
    for step, together in groupby(in_order, key=lambda event: _step_of(event, fps, step_seconds)):
        said = list(together)
        texts = [text for event in said for text in event.text.split()]
        end = (step + 1) * step_seconds
        spread = (end - _seen_at(said[0], fps)) / len(texts)
        for n_left, text in zip(range(len(texts), 0, -1), texts, strict=True):
            words.append(TimedWord(end - n_left * spread, end - (n_left - 1) * spread, text))
    return words


def _seen_at(event: Event, fps: float) -> float:
    """The time of the first frame at or after an event."""
    return math.ceil(event.time_seconds * fps - _TIME_SLACK) / fps


def _step_of(event: Event, fps: float, step_seconds: float) -> int:
    return math.floor(_seen_at(event, fps) / step_seconds + _TIME_SLACK)


def announcements_in(text: str) -> list[str]:
    """The announcements that a text makes, in order; words that belong to none are passed over."""
    words, found, index = text.split(), [], 0
    while index < len(words):
        for n_words in range(LONGEST_ANNOUNCEMENT_WORDS, 0, -1):
            phrase = " ".join(words[index : index + n_words])
            if phrase in ANNOUNCEMENTS:
                found.append(phrase)
                index += n_words - 1
                break
        index += 1
    return found


def events_to_json(events: Sequence[Event]) -> str:
    """A JSON list of rows `{"time_s", "text"}` in time order."""
    rows = [{"time_s": round(event.time_seconds, _TEXT_DIGITS), "text": event.text} for event in events]
    return json.dumps(rows, indent=2) + "\n"
