"""How well a stream was commented: what was announced against what happened.

An announcement counts for an event of the same words within a tolerance, each event and each announcement once. What is
said in a step of time counts as said in its middle, wherever in the step a viewer saw it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.commentary import Event, announcements_in

TOLERANCE_SECONDS = 1.0
_SECONDS_PER_MINUTE = 60.0
_SLACK_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class Said:
    """What was said in a step of time."""

    start_seconds: float
    end_seconds: float
    text: str

    @property
    def time_seconds(self) -> float:
        """The middle of the step."""
        return (self.start_seconds + self.end_seconds) / 2


@dataclass(frozen=True, slots=True)
class CommentaryScore:
    """Counts of a span of time, and what follows from them.

    n_garbled: steps with words that belong to no announcement; each is one false announcement more.
    """

    seconds: float
    n_events: int
    n_announced: int
    n_right: int
    n_garbled: int

    @property
    def precision(self) -> float:
        """Share of what was said that was right; 1 where nothing was said."""
        n_said = self.n_announced + self.n_garbled
        return self.n_right / n_said if n_said else 1.0

    @property
    def recall(self) -> float:
        """Share of events that were announced; 1 where nothing happened."""
        return self.n_right / self.n_events if self.n_events else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.n_events + self.n_announced + self.n_garbled
        return 2 * self.n_right / total if total else 1.0

    @property
    def false_per_minute(self) -> float:
        """Announcements of what did not happen, and garbled steps, per minute."""
        return (self.n_announced - self.n_right + self.n_garbled) * _SECONDS_PER_MINUTE / self.seconds

    def to_row(self) -> dict[str, Any]:
        """Counts and numbers, rounded for a file."""
        numbers = {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "false_per_minute": self.false_per_minute,
        }
        return {**asdict(self), **{name: round(value, 4) for name, value in numbers.items()}}


def score_commentary(
    events: Sequence[Event],
    said: Sequence[Said],
    *,
    end_seconds: float,
    n_parts: int = 1,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> list[CommentaryScore]:
    """Scores of equal parts of `[0, end_seconds)`, in time order; events and speech from the end on are left out.

    Matched over the whole stream, and each pair counts in the part of its event, a false announcement in its own.
    Raises ConfigError if there is nothing to divide.
    """
    if not end_seconds > 0 or n_parts < 1:
        raise ConfigError(f"{end_seconds:g} s in {n_parts} parts; give a time above 0 and at least 1 part")
    events = [event for event in events if event.time_seconds < end_seconds]
    said = [step for step in said if step.time_seconds < end_seconds]
    announced = [(step.time_seconds, text) for step in said for text in announcements_in(step.text)]
    pairs = match([(event.time_seconds, event.text) for event in events], announced, tolerance_seconds)
    part_seconds = end_seconds / n_parts

    def count(times: Sequence[float]) -> list[int]:
        counts = [0] * n_parts
        for time in times:
            counts[min(int(time / part_seconds), n_parts - 1)] += 1
        return counts

    partner = {index: events[event].time_seconds for event, index in pairs}
    columns = [
        count([event.time_seconds for event in events]),
        count([partner.get(index, time) for index, (time, _) in enumerate(announced)]),
        count(list(partner.values())),
        count([step.time_seconds for step in said if _is_garbled(step.text)]),
    ]
    return [CommentaryScore(part_seconds, *counts) for counts in zip(*columns, strict=True)]


def match(
    events: Sequence[tuple[float, str]], announced: Sequence[tuple[float, str]], tolerance_seconds: float
) -> list[tuple[int, int]]:
    """The most pairs of an event and an announcement of the same text whose times differ by the tolerance at most.

    Times in order, in both. Returns pairs of indices.
    """
    waiting: dict[str, list[int]] = defaultdict(list)
    for index, (_, text) in enumerate(announced):
        waiting[text].append(index)
    pairs = []
    # Intervals of one length: whoever ends first takes the first that is left to it.
    for event, (time, text) in enumerate(events):
        queue = waiting[text]
        while queue and announced[queue[0]][0] < time - tolerance_seconds - _SLACK_SECONDS:
            queue.pop(0)
        if queue and announced[queue[0]][0] <= time + tolerance_seconds + _SLACK_SECONDS:
            pairs.append((event, queue.pop(0)))
    return pairs


def _is_garbled(text: str) -> bool:
    return len(text.split()) != sum(len(found.split()) for found in announcements_in(text))
