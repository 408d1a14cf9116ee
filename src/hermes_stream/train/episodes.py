"""Training episodes: some grids of a clip, questions at moments of it, and what a memory would have lost by then.

Shape letters: F frames, G grids, N tokens of a grid, E model width, L layer groups, K tracked facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.policies.hermes_prompts import global_prompt, local_prompt, mixed_prompt
from hermes_stream.shapestream.questions import TASKS, describe_scene, question_at, summarize
from hermes_stream.shapestream.script import Dice, Presence, Script
from hermes_stream.shapestream.viewpoint import WINDOW_SECONDS, Viewpoint
from hermes_stream.train.evidence import find_evidence
from hermes_stream.train.forgetting import Forgetting, draw_forgetting, draw_gap_share
from hermes_stream.train.tracking import N_TRACKED, UNKNOWN, tracked_labels
from hermes_stream.types import Turn

DESCRIBE, SUMMARIZE, MIXED = "describe", "summarize", "mixed"
SNAPSHOT_TASKS = (
    "object",
    "color",
    "shape",
    "size",
    "where",
    "digit",
    "visible_count",
    "room",
    "is_color",
    "is_shape",
    "is_visible",
)
EVERY_TASK = (*TASKS, DESCRIBE, SUMMARIZE, MIXED)

# Tasks over the last minute mean that minute only where the model can know it: at one grid a second, or early.
_WINDOW_TASKS = frozenset({"count", SUMMARIZE, MIXED})
_WINDOW_FPS = 1.0
_ATTEMPTS = 3
_HISTORY_SHARE = 0.3
_BARE_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class FeatureClip:
    """A sampled script with the frozen tower's features.

    features_FNE: for each frame, its grid as it looks when this frame is the newest: one that still waits for a partner
        is shown with itself, so every `frames_per_grid`-th entry is a complete grid.
    shape: rows and columns of a grid's tokens.
    """

    script: Script
    fps: float
    times_seconds: tuple[float, ...]
    features_FNE: torch.Tensor
    shape: tuple[int, int]
    frames_per_grid: int

    @property
    def n_grids(self) -> int:
        """Complete grids."""
        return len(self.times_seconds) // self.frames_per_grid

    def grid_times(self, grid: int) -> tuple[float, ...]:
        """When the frames of a grid were shown."""
        return self.times_seconds[grid * self.frames_per_grid : (grid + 1) * self.frames_per_grid]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of an episode.

    after_grid: the newest complete grid it sees, -1 for none. waiting_frame: the clip's frame that it sees besides,
    without its partners. evidence: what each part of the answer rests on. is_bare: a guidance prompt without chat
    template.
    """

    task: str
    question: str
    answer: str
    after_grid: int = -1
    waiting_frame: int | None = None
    evidence: tuple[Presence, ...] = ()
    is_bare: bool = False


@dataclass(frozen=True, eq=False)
class Episode:
    """What one row of a batch is made of: grids of a clip from `first_grid` on.

    gap_share_G: for each grid, the share in [0, 1] of the model's spare positions that was skipped before it.
    forget: how long rows live, from the grids at which they were born; see `forgetting`. None for keeping all.
    tracked_GK: labels of `tracking` for each grid.
    """

    clip: FeatureClip
    first_grid: int
    gap_share_G: NDArray[np.float64]
    forget: Forgetting | None
    asked: tuple[Asked, ...]
    tracked_GK: NDArray[np.int64]

    @property
    def n_grids(self) -> int:
        """How long the stream is."""
        return len(self.gap_share_G)

    @property
    def since_seconds(self) -> float:
        """When the stream began."""
        return self.clip.grid_times(self.first_grid)[0]


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """How episodes are drawn at one stage of the curriculum.

    n_grids: least and most grids; a least of 1 means single moments without a past.
    evicting: share of episodes with a thinned memory; gaps: share with position gaps or offsets.
    tasks: names out of `EVERY_TASK` with their relative weights.
    """

    n_grids: tuple[int, int]
    n_questions: int
    tasks: dict[str, float]
    evicting: float = 0.0
    gaps: float = 0.5


def draw_episode(clip: FeatureClip, plan: EpisodePlan, rng: np.random.Generator, n_grids: int) -> Episode | None:
    """One episode with exactly `n_grids` grids, or None where the clip is too short or no question fits."""
    is_snapshot = plan.n_grids[0] == 1
    starts = range(clip.n_grids - n_grids + 1) if is_snapshot else _scene_starts(clip, n_grids)
    if not starts:
        return None
    first = int(rng.choice(starts))
    asked = _draw_questions(clip, plan, rng, first, n_grids, is_snapshot=is_snapshot)
    if not asked:
        return None
    forget = draw_forgetting(n_grids, rng) if rng.random() < plan.evicting else None
    gap_share = draw_gap_share(n_grids, rng) if rng.random() < plan.gaps else np.zeros(n_grids)
    tracked = np.full((n_grids, N_TRACKED), UNKNOWN) if is_snapshot else _tracked(clip, first, n_grids)
    return Episode(clip, first, gap_share, forget, tuple(asked), tracked)


def _scene_starts(clip: FeatureClip, n_grids: int) -> list[int]:
    """First grids of scenes that leave room for `n_grids`; an episode begins where its scene begins."""
    times, starts = clip.times_seconds[:: clip.frames_per_grid], []
    for scene in clip.script.scenes:
        first = int(np.searchsorted(times, scene.start_seconds))
        if first + n_grids <= clip.n_grids:
            starts.append(first)
    return starts


def _draw_questions(
    clip: FeatureClip, plan: EpisodePlan, rng: np.random.Generator, first: int, n_grids: int, *, is_snapshot: bool
) -> list[Asked]:
    dice = Dice(int(rng.integers(2**31)))
    names = list(plan.tasks)
    weights = np.array(list(plan.tasks.values()))
    weights = weights / weights.sum()
    since = 0.0 if is_snapshot else clip.script.scene_at(clip.grid_times(first)[0]).start_seconds
    per_grid = clip.frames_per_grid
    asked = []
    for _ in range(plan.n_questions):
        task = names[int(rng.choice(len(names), p=weights))]
        for _ in range(_ATTEMPTS):
            # Half of the questions fall anywhere, half late, where there is most to remember.
            share = rng.random() if rng.random() < 0.5 else rng.random() ** 0.35
            frame = min(int(share * n_grids * per_grid), n_grids * per_grid - 1)
            time = clip.times_seconds[first * per_grid + frame] + float(rng.uniform(0, 0.95)) / clip.fps
            found = _ask(Viewpoint(clip.script, time, clip.fps, since), task, dice, per_grid)
            if found is not None:
                asked.append(_seen_from(found, clip, first, frame))
                break
    return asked


def _seen_from(asked: Asked, clip: FeatureClip, first_grid: int, frame: int) -> Asked:
    """The question right after a frame of the episode, which may still wait for its partner."""
    n_complete = (frame + 1) // clip.frames_per_grid
    is_waiting = (frame + 1) % clip.frames_per_grid > 0
    waiting = first_grid * clip.frames_per_grid + frame if is_waiting else None
    return replace(asked, after_grid=n_complete - 1, waiting_frame=waiting)


def _ask(view: Viewpoint, task: str, dice: Dice, per_grid: int) -> Asked | None:
    if task in _WINDOW_TASKS and not _is_window_known(view, per_grid):
        return None
    if task in TASKS:
        question = question_at(view, task, dice)
        if question is None:
            return None
        return Asked(task, question.question, question.answer, evidence=find_evidence(view, question))
    return _guide(view, task, dice)


def _is_window_known(view: Viewpoint, frames_per_grid: int) -> bool:
    return view.fps == _WINDOW_FPS * frames_per_grid or view.time_seconds - view.since_seconds < WINDOW_SECONDS


def _tracked(clip: FeatureClip, first: int, n_grids: int) -> NDArray[np.int64]:
    since = clip.script.scene_at(clip.grid_times(first)[0]).start_seconds
    times = [clip.grid_times(grid)[-1] for grid in range(first, first + n_grids)]
    views = [Viewpoint(clip.script, time, clip.fps, since) for time in times]
    return np.array(
        [tracked_labels(view, is_window_known=_is_window_known(view, clip.frames_per_grid)) for view in views]
    )


def _guide(view: Viewpoint, task: str, dice: Dice) -> Asked | None:
    """A guidance prompt, often bare, at times with the turn that a dialogue would have remembered."""
    parts = {DESCRIBE: (describe_scene,), SUMMARIZE: (summarize,), MIXED: (describe_scene, summarize)}[task]
    prompt = {DESCRIBE: local_prompt, SUMMARIZE: global_prompt, MIXED: mixed_prompt}[task]
    texts = [part(view) for part in parts]
    if None in texts:
        return None
    earlier = question_at(view, dice.choice(list(TASKS)), dice) if dice.chance(_HISTORY_SHARE) else None
    turn = None if earlier is None else Turn(earlier.question, earlier.answer)
    answer = "; ".join(text for text in texts if text is not None)
    return Asked(task, prompt(turn), answer, is_bare=dice.chance(_BARE_SHARE))


def as_tasks(names: Sequence[str], weight: float = 1.0) -> dict[str, float]:
    """The same weight for each name."""
    return dict.fromkeys(names, weight)
