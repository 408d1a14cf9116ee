"""Questions about a script with exact short answers, in the three regimes of OVO-Bench.

Real-time questions ask about the screen, backward questions about what was shown before, forward questions are polls
for an event that may not have happened yet. An answer holds for at least 1.5 sampling intervals before its question,
and what it rests on was on screen for as long, so sampled frames are enough to give it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from hermes_stream.errors import ConfigError, unknown_name
from hermes_stream.shapestream.script import Dice, Script
from hermes_stream.shapestream.tasks import NOTHING, TASK_TABLE
from hermes_stream.shapestream.viewpoint import Viewpoint

TASKS: dict[str, str] = {name: regime for name, (regime, _) in TASK_TABLE.items()}


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


def question_at(view: Viewpoint, task: str, dice: Dice) -> Question | None:
    """One question of a task at a viewpoint, or None where the task has no certain answer.

    Raises ConfigError for a task that is not in `TASKS`.
    """
    if task not in TASK_TABLE:
        raise ConfigError(unknown_name("task", task, TASK_TABLE))
    regime, make = TASK_TABLE[task]
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
    reaches_back: bool = False,
) -> list[Question]:
    """Questions spread over a script in time order, tasks and regimes in turn.

    fps: the rate at which the viewer will sample frames; it sets how long a fact must have been shown.
    every_seconds: a moment is tried this often; moments at which the wanted task has no certain answer try the others.
    tasks: names out of `TASKS`, by default all of them.
    seed: chooses among the possible questions; the same seed gives the same list.
    reaches_back: ask about any time since the beginning: see `Viewpoint`.
    """
    if not every_seconds > 0:
        raise ConfigError(f"every_seconds must be above 0, got {every_seconds}")
    names = list(TASKS if tasks is None else tasks)
    dice = Dice(1_000_003 * (script.seed + 1) + seed)
    asked = dict.fromkeys(names, 0)
    questions = []
    for index in range(1, int(script.duration_seconds / every_seconds) + 1):
        time_seconds = round((index - dice.uniform(0.0, 0.5)) * every_seconds, 2)
        view = Viewpoint(script, time_seconds, fps, reaches_back=reaches_back)
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
