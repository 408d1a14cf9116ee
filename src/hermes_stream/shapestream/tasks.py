"""What can be asked: one function per task, from a viewpoint to a question with its answer, or None where it is unfair.

Facts must have been on screen for the viewpoint's margin; a task that cannot be certain says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes_stream.shapestream.script import COLORS, ROOMS, SHAPES, Dice, Kind, Presence
from hermes_stream.shapestream.viewpoint import WINDOW_SECONDS, Viewpoint

UNANSWERABLE = "unanswerable"
NOTHING = "nothing"

_N_LAST = 3
# Of the questions that could be about something never shown, how many are about something shown, where there is any.
_ANSWERABLE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Draft:
    """A question before it is placed: see `questions.Question` for the fields."""

    question: str
    answer: str
    recall_delay_s: float = 0.0
    event_time_s: float | None = None


Task = Callable[[Viewpoint, Dice], Draft | None]


def _object(view: Viewpoint, _: Dice) -> Draft | None:
    if not view.is_settled:
        return None
    return Draft("What object is visible now?", str(view.current.kind) if view.current else NOTHING)


def _color(view: Viewpoint, _: Dice) -> Draft | None:
    current = _settled_object(view)
    return None if current is None else Draft("What color is the object?", current.kind.color)


def _shape(view: Viewpoint, _: Dice) -> Draft | None:
    current = _settled_object(view)
    return None if current is None else Draft("What shape is the object?", current.kind.shape)


def _size(view: Viewpoint, _: Dice) -> Draft | None:
    current = _settled_object(view)
    if current is None or current.count > 1:
        return None
    return Draft("Is the object small or large?", current.size)


def _where(view: Viewpoint, _: Dice) -> Draft | None:
    current = view.current
    if current is None or not view.place_is_settled:
        return None
    has_arrived = current.moves and view.time_seconds >= current.move_end_seconds
    return Draft("Where is the object?", current.end_slot if has_arrived else current.slot)


def _direction(view: Viewpoint, dice: Dice) -> Draft | None:
    direction = view.settled_direction
    if direction is None or (direction == "still" and dice.chance(0.5)):
        return None
    return Draft("Which way is the object moving?", direction)


def _digit(view: Viewpoint, dice: Dice) -> Draft | None:
    if not view.room_is_settled or (view.scene.digit is None and dice.chance(0.5)):
        return None
    return Draft("What digit does the display show?", NOTHING if view.scene.digit is None else str(view.scene.digit))


def _visible_count(view: Viewpoint, dice: Dice) -> Draft | None:
    count = view.current.count if view.current else 0
    if not view.is_settled or (count == 1 and dice.chance(0.5)):
        return None
    return Draft("How many objects are visible?", str(count))


def _room(view: Viewpoint, _: Dice) -> Draft | None:
    return Draft("Which room is this?", view.scene.room) if view.room_is_settled else None


def _is_visible(view: Viewpoint, dice: Dice) -> Draft | None:
    if not view.is_settled:
        return None
    visible = view.current.kind if view.current else None
    kind = visible if visible and dice.chance(0.5) else _like(visible or _any_kind(dice), dice)
    return Draft(f"Is a {kind} visible now?", _yes(kind == visible))


def _is_color(view: Viewpoint, dice: Dice) -> Draft | None:
    current = _settled_object(view)
    if current is None:
        return None
    color = _same_or_other(current.kind.color, COLORS, dice)
    return Draft(f"Is the object {color}?", _yes(color == current.kind.color))


def _is_shape(view: Viewpoint, dice: Dice) -> Draft | None:
    current = _settled_object(view)
    if current is None:
        return None
    shape = _same_or_other(current.kind.shape, SHAPES, dice)
    return Draft(f"Is the object a {shape}?", _yes(shape == current.kind.shape))


def _before(view: Viewpoint, _: Dice) -> Draft | None:
    if _settled_object(view) is None or not view.past:
        return None
    last = view.past[-1]
    return Draft("What came before the current object?", str(last.kind), view.age_seconds(last))


def _first(view: Viewpoint, _: Dice) -> Draft | None:
    if not view.is_settled or not view.begun:
        return None
    first = view.begun[0]
    return Draft("What object came first?", str(first.kind), view.age_seconds(first))


def _in_room(view: Viewpoint, dice: Dice) -> Draft | None:
    """Rooms that were shown without any object are left out, and so is the current room."""
    if not view.is_settled:
        return None
    others = [p for p in view.past if p.room != view.scene.room]
    if others and dice.chance(_ANSWERABLE_SHARE):
        room = dice.choice(others).room
        last = [p for p in others if p.room == room][-1]
        return Draft(f"Which object was last in the {room} room?", str(last.kind), view.age_seconds(last))
    rooms = [room for room in ROOMS if not _was_visited(view, room)]
    return Draft(f"Which object was last in the {dice.choice(rooms)} room?", UNANSWERABLE) if rooms else None


def _which_room(view: Viewpoint, dice: Dice) -> Draft | None:
    if not view.is_settled or not view.past:
        return None
    if dice.chance(_ANSWERABLE_SHARE):
        seen = view.pick(view.past, dice)
        last = [p for p in view.begun if p.kind == seen.kind][-1]
        return Draft(f"In which room was the {last.kind} last?", last.room, view.age_seconds(last))
    kind = _unseen_kind(view, dice)
    return None if kind is None else Draft(f"In which room was the {kind} last?", UNANSWERABLE)


def _color_of(view: Viewpoint, dice: Dice) -> Draft | None:
    if not view.is_settled or not view.begun:
        return None
    if dice.chance(_ANSWERABLE_SHARE):
        shape = view.pick(view.begun, dice).kind.shape
        last = [p for p in view.begun if p.kind.shape == shape][-1]
        return Draft(f"What color was the last {shape}?", last.kind.color, view.age_seconds(last))
    shown = {kind.shape for kind in view.kinds_seen}
    shapes = [shape for shape in SHAPES if shape not in shown]
    return Draft(f"What color was the last {dice.choice(shapes)}?", UNANSWERABLE) if shapes else None


def _count(view: Viewpoint, _: Dice) -> Draft | None:
    window = view.in_window
    if window is None or not view.is_settled:
        return None
    number = len({p.kind for p in window})
    delay = view.age_seconds(window[0]) if window else 0.0
    return Draft("How many different objects appeared in the last minute?", str(number), min(delay, WINDOW_SECONDS))


def _last_objects(view: Viewpoint, _: Dice) -> Draft | None:
    if not view.is_settled or len(view.begun) < _N_LAST:
        return None
    last = view.begun[-_N_LAST:]
    answer = ", ".join(str(p.kind) for p in last)
    return Draft("What were the last three objects?", answer, view.age_seconds(last[0]))


def _ever(view: Viewpoint, dice: Dice) -> Draft | None:
    drawn = _seen_or_not(view, dice)
    if drawn is None:
        return None
    kind, seen = drawn
    return Draft(f"Was there ever a {kind}?", _yes(seen is not None), _age(view, seen))


def _appeared(view: Viewpoint, dice: Dice) -> Draft | None:
    """Asked as a poll: the event is the first appearance, perhaps still to come."""
    drawn = _seen_or_not(view, dice)
    if drawn is None:
        return None
    kind, seen = drawn
    event = _first_time(view, kind)
    return Draft(f"Has a {kind} appeared by now?", _yes(seen is not None), _age(view, seen), event)


def _alert(view: Viewpoint, dice: Dice) -> Draft | None:
    """A poll of a standing order: the object is new to the viewer and on screen now, or still to come."""
    if not view.is_settled:
        return None
    current = view.current
    if current is not None and dice.chance(0.5) and all(p.kind != current.kind for p in view.past):
        return Draft(f"Tell me when a {current.kind} appears.", "now", 0.0, current.start_seconds)
    coming = [p.kind for p in view.script.presences if p.start_seconds > view.time_seconds][:5]
    kinds = [kind for kind in coming if kind not in view.kinds_seen]
    kind = dice.choice(kinds) if kinds else _unseen_kind(view, dice)
    if kind is None:
        return None
    return Draft(f"Tell me when a {kind} appears.", "not yet", 0.0, _first_time(view, kind))


def _settled_object(view: Viewpoint) -> Presence | None:
    return view.current if view.is_settled else None


def _seen_or_not(view: Viewpoint, dice: Dice) -> tuple[Kind, Presence | None] | None:
    """A kind with its last presence, or one that was not shown, with equal chances."""
    if not view.is_settled or not view.begun:
        return None
    if dice.chance(0.5):
        seen = view.pick(view.begun, dice)
        return seen.kind, [p for p in view.begun if p.kind == seen.kind][-1]
    kind = _unseen_kind(view, dice)
    return None if kind is None else (kind, None)


def _unseen_kind(view: Viewpoint, dice: Dice) -> Kind | None:
    """A kind never shown, half the time one that differs from a shown kind in colour or shape alone."""
    kinds = [Kind(color, shape) for color in COLORS for shape in SHAPES]
    unseen = [kind for kind in kinds if kind not in view.kinds_seen]
    near = [kind for kind in unseen if any(_is_near(kind, seen) for seen in view.kinds_seen)]
    if not unseen:
        return None
    return dice.choice(near) if near and dice.chance(0.5) else dice.choice(unseen)


def _is_near(kind: Kind, other: Kind) -> bool:
    return kind.color == other.color or kind.shape == other.shape


def _like(kind: Kind, dice: Dice) -> Kind:
    """Another kind that shares the colour or the shape, or neither."""
    color = dice.choice([name for name in COLORS if name != kind.color])
    shape = dice.choice([name for name in SHAPES if name != kind.shape])
    return dice.choice((Kind(color, kind.shape), Kind(kind.color, shape), Kind(color, shape)))


def _same_or_other(name: str, names: Sequence[str], dice: Dice) -> str:
    return name if dice.chance(0.5) else dice.choice([other for other in names if other != name])


def _any_kind(dice: Dice) -> Kind:
    return Kind(dice.choice(COLORS), dice.choice(SHAPES))


def _was_visited(view: Viewpoint, room: str) -> bool:
    return any(
        scene.room == room and view.since_seconds <= scene.start_seconds <= view.time_seconds
        for scene in view.script.scenes
    )


def _first_time(view: Viewpoint, kind: Kind) -> float | None:
    """When the kind first appears to a viewer who began at `since_seconds`."""
    times = [p.start_seconds for p in view.script.presences if p.kind == kind]
    return next((time for time in times if time >= view.since_seconds), None)


def _age(view: Viewpoint, seen: Presence | None) -> float:
    return 0.0 if seen is None else view.age_seconds(seen)


def _yes(is_true: bool) -> str:
    return "yes" if is_true else "no"


TASK_TABLE: dict[str, tuple[str, Task]] = {
    "object": ("real-time", _object),
    "color": ("real-time", _color),
    "shape": ("real-time", _shape),
    "size": ("real-time", _size),
    "where": ("real-time", _where),
    "direction": ("real-time", _direction),
    "digit": ("real-time", _digit),
    "visible_count": ("real-time", _visible_count),
    "room": ("real-time", _room),
    "is_color": ("real-time", _is_color),
    "is_shape": ("real-time", _is_shape),
    "is_visible": ("real-time", _is_visible),
    "before": ("backward", _before),
    "first": ("backward", _first),
    "in_room": ("backward", _in_room),
    "which_room": ("backward", _which_room),
    "color_of": ("backward", _color_of),
    "count": ("backward", _count),
    "last_objects": ("backward", _last_objects),
    "ever": ("backward", _ever),
    "appeared": ("forward", _appeared),
    "alert": ("forward", _alert),
}
