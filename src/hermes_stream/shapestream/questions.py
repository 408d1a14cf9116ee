"""Questions about a script with exact short answers, in the three regimes of OVO-Bench.

Real-time questions ask about the screen, backward questions about what was shown before, forward questions are polls
for an event that may not have happened yet. An answer holds for at least 1.5 sampling intervals before its question,
and what it rests on was on screen for as long, so sampled frames are enough to give it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from hermes_stream.errors import ConfigError, unknown_name
from hermes_stream.shapestream.script import COLORS, ROOMS, SHAPES, Dice, Kind, Presence, Script
from hermes_stream.shapestream.viewpoint import WINDOW_SECONDS, Viewpoint

UNANSWERABLE = "unanswerable"
NOTHING = "nothing"

_N_LAST = 3
# Of the questions that could be about something never shown, how many are about something shown, where there is any.
_ANSWERABLE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Question:
    """A question at a moment of the stream, and its truth.

    regime: `real-time`, `backward` or `forward`.
    recall_delay_s: seconds since the oldest evidence that the answer needs left the screen; 0 where it is still
        visible, or where the answer says that there never was any.
    event_time_s: forward questions only: when the event happens, None where it never does in this script.
    """

    time_s: float
    question: str
    answer: str
    regime: str
    task: str
    recall_delay_s: float
    event_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Draft:
    question: str
    answer: str
    recall_delay_s: float = 0.0
    event_time_s: float | None = None


_Task = Callable[[Viewpoint, Dice], _Draft | None]


def question_at(view: Viewpoint, task: str, dice: Dice) -> Question | None:
    """One question of a task at a viewpoint, or None where the task has no certain answer.

    Raises ConfigError for a task that is not in `TASKS`.
    """
    if task not in _TASKS:
        raise ConfigError(unknown_name("task", task, _TASKS))
    regime, make = _TASKS[task]
    draft = make(view, dice)
    if draft is None:
        return None
    delay = round(draft.recall_delay_s, 3)
    event = None if draft.event_time_s is None else round(draft.event_time_s, 3)
    return Question(view.time_seconds, draft.question, draft.answer, regime, task, delay, event)


def make_questions(
    script: Script,
    *,
    fps: float,
    every_seconds: float = 2.0,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Question]:
    """Questions spread over a script in time order, tasks and regimes in turn.

    fps: the rate at which the viewer will sample frames; it sets how long a fact must have been shown.
    every_seconds: a moment is tried this often; moments at which the wanted task has no certain answer try the others.
    tasks: names out of `TASKS`, by default all of them.
    seed: chooses among the possible questions; the same seed gives the same list.
    """
    if not every_seconds > 0:
        raise ConfigError(f"every_seconds must be above 0, got {every_seconds}")
    names = list(TASKS if tasks is None else tasks)
    dice = Dice(1_000_003 * (script.seed + 1) + seed)
    asked = dict.fromkeys(names, 0)
    questions = []
    for index in range(1, int(script.duration_seconds / every_seconds) + 1):
        time_seconds = round((index - dice.uniform(0.0, 0.5)) * every_seconds, 2)
        view = Viewpoint(script, time_seconds, fps)
        for name in sorted(names, key=lambda name: (asked[name], dice.uniform(0, 1))):
            question = question_at(view, name, dice)
            if question is not None:
                asked[name] += 1
                questions.append(question)
                break
    return questions


def questions_to_json(questions: Iterable[Question]) -> str:
    """A JSON list in time order; `event_time_s` appears in forward questions only."""
    rows = []
    for question in sorted(questions, key=lambda question: question.time_s):
        row = asdict(question)
        if question.regime != "forward":
            del row["event_time_s"]
        rows.append(row)
    return json.dumps(rows, indent=2) + "\n"


def describe_scene(view: Viewpoint) -> str | None:
    """What is on screen, in one sentence, or None where it is changing."""
    if not view.is_settled:
        return None
    what, current = NOTHING, view.current
    if current is not None:
        what = str(current.kind) if current.count == 1 else f"{current.count} {current.kind}"
        what += f" {current.slot}" if view.place_is_settled and not current.moves else ""
    digit = "" if view.scene.digit is None else f", digit {view.scene.digit}"
    return f"{what} in the {view.scene.room} room{digit}"


def summarize(view: Viewpoint, n_last: int = 8) -> str | None:
    """The last kinds shown in the last minute, oldest first, or None where one of them is in doubt."""
    window = view.in_window
    if window is None or not view.is_settled:
        return None
    return ", ".join(str(p.kind) for p in window[-n_last:]) or NOTHING


def _object(view: Viewpoint, _: Dice) -> _Draft | None:
    if not view.is_settled:
        return None
    return _Draft("What object is visible now?", str(view.current.kind) if view.current else NOTHING)


def _color(view: Viewpoint, _: Dice) -> _Draft | None:
    current = _settled_object(view)
    return None if current is None else _Draft("What color is the object?", current.kind.color)


def _shape(view: Viewpoint, _: Dice) -> _Draft | None:
    current = _settled_object(view)
    return None if current is None else _Draft("What shape is the object?", current.kind.shape)


def _size(view: Viewpoint, _: Dice) -> _Draft | None:
    current = _settled_object(view)
    if current is None or current.count > 1:
        return None
    return _Draft("Is the object small or large?", current.size)


def _where(view: Viewpoint, _: Dice) -> _Draft | None:
    current = view.current
    if current is None or not view.place_is_settled:
        return None
    has_arrived = current.moves and view.time_seconds >= current.move_end_seconds
    return _Draft("Where is the object?", current.end_slot if has_arrived else current.slot)


def _direction(view: Viewpoint, dice: Dice) -> _Draft | None:
    direction = view.settled_direction
    if direction is None or (direction == "still" and dice.chance(0.5)):
        return None
    return _Draft("Which way is the object moving?", direction)


def _digit(view: Viewpoint, dice: Dice) -> _Draft | None:
    if not view.room_is_settled or (view.scene.digit is None and dice.chance(0.5)):
        return None
    return _Draft("What digit does the display show?", NOTHING if view.scene.digit is None else str(view.scene.digit))


def _visible_count(view: Viewpoint, dice: Dice) -> _Draft | None:
    count = view.current.count if view.current else 0
    if not view.is_settled or (count == 1 and dice.chance(0.5)):
        return None
    return _Draft("How many objects are visible?", str(count))


def _room(view: Viewpoint, _: Dice) -> _Draft | None:
    return _Draft("Which room is this?", view.scene.room) if view.room_is_settled else None


def _is_visible(view: Viewpoint, dice: Dice) -> _Draft | None:
    if not view.is_settled:
        return None
    visible = view.current.kind if view.current else None
    kind = visible if visible and dice.chance(0.5) else _like(visible or _any_kind(dice), dice)
    return _Draft(f"Is a {kind} visible now?", _yes(kind == visible))


def _is_color(view: Viewpoint, dice: Dice) -> _Draft | None:
    current = _settled_object(view)
    if current is None:
        return None
    color = _same_or_other(current.kind.color, COLORS, dice)
    return _Draft(f"Is the object {color}?", _yes(color == current.kind.color))


def _is_shape(view: Viewpoint, dice: Dice) -> _Draft | None:
    current = _settled_object(view)
    if current is None:
        return None
    shape = _same_or_other(current.kind.shape, SHAPES, dice)
    return _Draft(f"Is the object a {shape}?", _yes(shape == current.kind.shape))


def _before(view: Viewpoint, _: Dice) -> _Draft | None:
    if _settled_object(view) is None or not view.past:
        return None
    last = view.past[-1]
    return _Draft("What came before the current object?", str(last.kind), view.age_seconds(last))


def _first(view: Viewpoint, _: Dice) -> _Draft | None:
    if not view.is_settled or not view.begun:
        return None
    first = view.begun[0]
    return _Draft("What object came first?", str(first.kind), view.age_seconds(first))


def _in_room(view: Viewpoint, dice: Dice) -> _Draft | None:
    """Rooms that were shown without any object are left out, and so is the current room."""
    if not view.is_settled:
        return None
    others = [p for p in view.past if p.room != view.scene.room]
    if others and dice.chance(_ANSWERABLE_SHARE):
        room = dice.choice(others).room
        last = [p for p in others if p.room == room][-1]
        return _Draft(f"Which object was last in the {room} room?", str(last.kind), view.age_seconds(last))
    rooms = [room for room in ROOMS if not _was_visited(view, room)]
    return _Draft(f"Which object was last in the {dice.choice(rooms)} room?", UNANSWERABLE) if rooms else None


def _which_room(view: Viewpoint, dice: Dice) -> _Draft | None:
    if not view.is_settled or not view.past:
        return None
    if dice.chance(_ANSWERABLE_SHARE):
        seen = dice.choice(view.past)
        last = [p for p in view.begun if p.kind == seen.kind][-1]
        return _Draft(f"In which room was the {last.kind} last?", last.room, view.age_seconds(last))
    kind = _unseen_kind(view, dice)
    return None if kind is None else _Draft(f"In which room was the {kind} last?", UNANSWERABLE)


def _color_of(view: Viewpoint, dice: Dice) -> _Draft | None:
    if not view.is_settled or not view.begun:
        return None
    if dice.chance(_ANSWERABLE_SHARE):
        shape = dice.choice(view.begun).kind.shape
        last = [p for p in view.begun if p.kind.shape == shape][-1]
        return _Draft(f"What color was the last {shape}?", last.kind.color, view.age_seconds(last))
    shown = {kind.shape for kind in view.kinds_seen}
    shapes = [shape for shape in SHAPES if shape not in shown]
    return _Draft(f"What color was the last {dice.choice(shapes)}?", UNANSWERABLE) if shapes else None


def _count(view: Viewpoint, _: Dice) -> _Draft | None:
    window = view.in_window
    if window is None or not view.is_settled:
        return None
    number = len({p.kind for p in window})
    delay = view.age_seconds(window[0]) if window else 0.0
    return _Draft("How many different objects appeared in the last minute?", str(number), min(delay, WINDOW_SECONDS))


def _last_objects(view: Viewpoint, _: Dice) -> _Draft | None:
    if not view.is_settled or len(view.begun) < _N_LAST:
        return None
    last = view.begun[-_N_LAST:]
    answer = ", ".join(str(p.kind) for p in last)
    return _Draft("What were the last three objects?", answer, view.age_seconds(last[0]))


def _ever(view: Viewpoint, dice: Dice) -> _Draft | None:
    drawn = _seen_or_not(view, dice)
    if drawn is None:
        return None
    kind, seen = drawn
    return _Draft(f"Was there ever a {kind}?", _yes(seen is not None), _age(view, seen))


def _appeared(view: Viewpoint, dice: Dice) -> _Draft | None:
    """Asked as a poll: the event is the first appearance, perhaps still to come."""
    drawn = _seen_or_not(view, dice)
    if drawn is None:
        return None
    kind, seen = drawn
    event = _first_time(view, kind)
    return _Draft(f"Has a {kind} appeared by now?", _yes(seen is not None), _age(view, seen), event)


def _alert(view: Viewpoint, dice: Dice) -> _Draft | None:
    """A poll of a standing order: the object is new to the viewer and on screen now, or still to come."""
    if not view.is_settled:
        return None
    current = view.current
    if current is not None and dice.chance(0.5) and all(p.kind != current.kind for p in view.past):
        return _Draft(f"Tell me when a {current.kind} appears.", "now", 0.0, current.start_seconds)
    coming = [p.kind for p in view.script.presences if p.start_seconds > view.time_seconds][:5]
    kinds = [kind for kind in coming if kind not in view.kinds_seen]
    kind = dice.choice(kinds) if kinds else _unseen_kind(view, dice)
    if kind is None:
        return None
    return _Draft(f"Tell me when a {kind} appears.", "not yet", 0.0, _first_time(view, kind))


def _settled_object(view: Viewpoint) -> Presence | None:
    return view.current if view.is_settled else None


def _seen_or_not(view: Viewpoint, dice: Dice) -> tuple[Kind, Presence | None] | None:
    """A kind with its last presence, or one that was not shown, with equal chances."""
    if not view.is_settled or not view.begun:
        return None
    if dice.chance(0.5):
        seen = dice.choice(view.begun)
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


_TASKS: dict[str, tuple[str, _Task]] = {
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
TASKS: dict[str, str] = {name: regime for name, (regime, _) in _TASKS.items()}
