"""Standing questions about a ShapeStream episode, what really happens in it, and which hits tell of that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hermes_stream.engine.standing import StandingQuestion
from hermes_stream.shapestream import Kind, Script
from hermes_stream.shapestream.script import COLORS, SHAPES
from hermes_stream.shapestream.viewpoint import Viewpoint

# The forward tasks, worded as ShapeStream words them; the hit is the first choice.
WORDINGS: dict[str, tuple[str, tuple[str, str]]] = {
    "appeared": ("Has a {kind} appeared by now?", ("yes", "no")),
    "alert": ("Tell me when a {kind} appears.", ("now", "not yet")),
}


@dataclass(frozen=True, slots=True)
class Event:
    """What a hit during `[start_seconds, end_seconds]` tells of.

    is_due: whether who does not tell has missed it: it is the kind's first appearance, and there is a look after it.
    """

    start_seconds: float
    end_seconds: float
    is_due: bool


@dataclass(frozen=True, slots=True)
class Posed:
    """A standing question that runs during a whole episode, and its truth: events in time order.

    alike: when an object is on screen that shares the colour or the shape alone, `(from, to)` in seconds.
    """

    task: str
    question: StandingQuestion
    events: tuple[Event, ...]
    alike: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of the hits of one standing question.

    delay_seconds: of each due event, from its start to the hit that told of it; None where none did.
    is_news: for each hit, whether it told of an event that no hit before it had. n_repeated: hits that told of one that
    had been told. n_false: hits while there was nothing to tell; n_alike: those of them at a sight that is alike.
    """

    delay_seconds: tuple[float | None, ...]
    is_news: tuple[bool, ...]
    n_repeated: int
    n_false: int
    n_alike: int


def pose(script: Script, *, fps: float, look_seconds: float) -> list[Posed]:
    """Both forward tasks for every kind there is: those that will appear, and those that never do.

    fps: at which the episode is sampled. look_seconds: between two looks.
    """
    kinds = [Kind(color, shape) for color in COLORS for shape in SHAPES]
    return [
        Posed(
            task,
            StandingQuestion(question=wording.format(kind=kind), choices=choices),
            _events(script, kind, task, fps, look_seconds),
            _alike(script, kind, look_seconds),
        )
        for task, (wording, choices) in WORDINGS.items()
        for kind in kinds
    ]


def judge(posed: Posed, hit_seconds: Sequence[float]) -> Judgement:
    """What hits are worth. hit_seconds: in time order."""
    told: dict[Event, float] = {}
    is_news, false = [], []
    for seconds in hit_seconds:
        # The newest of those that it may tell of.
        event = next((e for e in reversed(posed.events) if e.start_seconds <= seconds <= e.end_seconds), None)
        is_news.append(event is not None and event not in told)
        if event is None:
            false.append(seconds)
        else:
            told.setdefault(event, seconds)
    delays = [told[event] - event.start_seconds if event in told else None for event in posed.events if event.is_due]
    n_alike = sum(any(start <= seconds <= end for start, end in posed.alike) for seconds in false)
    n_repeated = len(is_news) - sum(is_news) - len(false)
    return Judgement(tuple(delays), tuple(is_news), n_repeated, len(false), n_alike)


def _events(script: Script, kind: Kind, task: str, fps: float, look_seconds: float) -> tuple[Event, ...]:
    """`appeared` becomes true once and stays so. `alert` is about each appearance, and may be told one look late."""
    shown = [p for p in script.presences if p.kind == kind and p.start_seconds < script.duration_seconds]
    last_fair = script.duration_seconds - Viewpoint(script, 0.0, fps).margin_seconds - look_seconds
    if task == "appeared":
        return tuple(Event(p.start_seconds, math.inf, p.start_seconds <= last_fair) for p in shown[:1])
    return tuple(
        Event(p.start_seconds, p.end_seconds + look_seconds, p is shown[0] and p.start_seconds <= last_fair)
        for p in shown
    )


def _alike(script: Script, kind: Kind, look_seconds: float) -> tuple[tuple[float, float], ...]:
    return tuple(
        (p.start_seconds, p.end_seconds + look_seconds)
        for p in script.presences
        if (p.kind.color == kind.color) != (p.kind.shape == kind.shape)
    )
