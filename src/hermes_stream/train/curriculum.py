"""From single frames to whole clips: what is trained when."""

from __future__ import annotations

from dataclasses import dataclass

from hermes_stream.shapestream.questions import TASKS
from hermes_stream.train.episodes import DESCRIBE, MIXED, SNAPSHOT_TASKS, SUMMARIZE, EpisodePlan, as_tasks

_REAL_TIME = tuple(task for task, regime in TASKS.items() if regime == "real-time")
_OTHER = tuple(task for task, regime in TASKS.items() if regime != "real-time")

# Yes or no is a comparison, which is learned late: it gets the most practice.
_COMPARING = {"is_color": 1.2, "is_shape": 1.2, "is_visible": 1.8, "ever": 1.2, "appeared": 1.0, "alert": 1.5}
_SNAPSHOT = as_tasks(SNAPSHOT_TASKS)
_BALANCED = {**as_tasks(_REAL_TIME, 0.4), **as_tasks(_OTHER), **_COMPARING}
_LONG = {
    **as_tasks(_REAL_TIME, 0.25),
    **as_tasks(_OTHER),
    "direction": 1.0,
    "size": 0.5,
    "first": 0.7,
    "in_room": 2.0,
    "which_room": 2.0,
    "color_of": 1.6,
    "last_objects": 1.5,
    "count": 1.5,
}
# Finding by name is learned late and best among few scenes.
_RECALL = {**_LONG, "in_room": 3.0, "which_room": 3.0, "color_of": 2.5}
_GUIDANCE = {DESCRIBE: 1.0, SUMMARIZE: 1.0, MIXED: 0.6}


@dataclass(frozen=True, slots=True)
class Stage:
    """Plans until a share of the training time has passed.

    guidance: episodes of the long guidance prompts, drawn with probability guidance_share; they are kept apart because
        all questions of a batch are padded to the longest.
    batch_tokens: about how many tokens a batch may have.
    """

    until: float
    plan: EpisodePlan
    guidance: EpisodePlan
    guidance_share: float = 0.08
    batch_tokens: int = 1100


def _stage(until: float, low: int, high: int, n_questions: int, tasks: dict[str, float], evicting: float) -> Stage:
    plan = EpisodePlan((low, high), n_questions, tasks, evicting)
    guidance = EpisodePlan((max(low, 3), max(high, 3)), max(n_questions // 3, 3), _GUIDANCE, evicting)
    return Stage(until, plan, guidance)


STAGES = (
    _stage(0.04, 1, 2, 6, _SNAPSHOT, 0.0),
    _stage(0.15, 3, 12, 12, _BALANCED, 0.0),
    _stage(0.3, 6, 24, 16, _BALANCED, 0.0),
    _stage(0.5, 10, 32, 20, _RECALL, 0.0),
    _stage(0.7, 16, 56, 22, _RECALL, 0.2),
    _stage(1.0, 32, 96, 24, _LONG, 0.4),
)


def stage_at(progress: float) -> Stage:
    """The stage at a share of the training time in `[0, 1]`."""
    return next((stage for stage in STAGES if progress < stage.until), STAGES[-1])
