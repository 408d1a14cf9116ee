"""Where an answer's evidence is: which presences it rests on, and which grids show them. Shape letter: G grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hermes_stream.shapestream.questions import Question
from hermes_stream.shapestream.script import ENTER_SECONDS, Presence
from hermes_stream.shapestream.tasks import UNANSWERABLE
from hermes_stream.shapestream.viewpoint import Viewpoint

PART_SEPARATOR = ","

# Tasks whose questions name what was shown; the others ask by order.
NAMING_TASKS = frozenset({"in_room", "which_room", "color_of", "ever", "appeared"})
_ONE_PRESENCE = NAMING_TASKS | {"before", "first"}
_SEVERAL = frozenset({"last_objects"})
_NONE = frozenset({UNANSWERABLE, "no"})


def find_evidence(view: Viewpoint, question: Question) -> tuple[Presence, ...]:
    """The presence that each part of the answer rests on, in order; empty where the answer has no single one."""
    if question.task in _SEVERAL:
        return view.begun[-len(question.answer.split(PART_SEPARATOR)) :]
    if question.task not in _ONE_PRESENCE or question.answer in _NONE:
        return ()
    ages = [abs(view.age_seconds(presence) - question.recall_delay_s) for presence in view.begun]
    return (view.begun[len(ages) - 1 - int(np.argmin(ages[::-1]))],)


def shows(presence: Presence, newest_seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which grids show a presence well, by the times of their newest frames."""
    since, until = presence.start_seconds + ENTER_SECONDS, presence.end_seconds - ENTER_SECONDS
    return (since <= newest_seconds) & (newest_seconds < until)
