"""Training episodes: some frames of a clip, questions at moments of it, and what a memory would have lost by then.

Shape letters: F frames, E model width, G layer groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.shapestream.questions import TASKS, describe_scene, question_at, summarize
from hermes_stream.shapestream.script import Dice, Script
from hermes_stream.shapestream.viewpoint import WINDOW_SECONDS, Viewpoint
from hermes_stream.train.architecture import POSITION_LIMIT, TOKENS_PER_FRAME
from hermes_stream.train.attention import N_GROUPS
from hermes_stream.train.prompts import Turn, global_prompt, local_prompt, mixed_prompt
from hermes_stream.train.tracking import N_TRACKED, UNKNOWN, tracked_labels

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

# Tasks over the last minute mean that minute only where the model can know it: at one frame a second, or early.
_WINDOW_TASKS = frozenset({"count", SUMMARIZE, MIXED})
_WINDOW_FPS = 1.0
# Room that positions leave for a question and its answer.
_TAIL_POSITIONS = 160
_ATTEMPTS = 3
_HISTORY_SHARE = 0.3
_BARE_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class FeatureClip:
    """A sampled script with the frozen tower's features `[F, 4, E]`."""

    script: Script
    fps: float
    times_seconds: tuple[float, ...]
    features_FNE: torch.Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of an episode.

    after_frame: the newest frame it sees. is_bare: a guidance prompt without chat template.
    """

    task: str
    question: str
    answer: str
    after_frame: int
    is_bare: bool = False


@dataclass(frozen=True, eq=False)
class Episode:
    """What one row of a batch is made of.

    frame_starts_F: position of each frame's first token, counted from the end of the prefix.
    expiry_GN: stream time, in frames, from which a vision token is hidden in the layers of a group; a row of frame f
        reads at time f, a question after frame f at f + 0.5.
    tracked_FL: labels of `tracking` for each frame.
    """

    features_FNE: torch.Tensor
    frame_starts_F: NDArray[np.int64]
    expiry_GN: NDArray[np.float64]
    asked: tuple[Asked, ...]
    tracked_FL: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EpisodePlan:
    """How episodes are drawn at one stage of the curriculum.

    n_frames: least and most frames; a least of 1 means single moments without a past.
    evicting: share of episodes with a thinned memory; gaps: share with position gaps or offsets.
    tasks: names out of `EVERY_TASK` with their relative weights.
    """

    n_frames: tuple[int, int]
    n_questions: int
    tasks: dict[str, float]
    evicting: float = 0.0
    gaps: float = 0.5


def draw_episode(clip: FeatureClip, plan: EpisodePlan, rng: np.random.Generator, n_frames: int) -> Episode | None:
    """One episode with exactly `n_frames` frames, or None where the clip is too short or no question fits."""
    is_snapshot = plan.n_frames[0] == 1
    starts = range(len(clip.times_seconds) - n_frames + 1) if is_snapshot else _scene_starts(clip, n_frames)
    if not starts:
        return None
    first = int(rng.choice(starts))
    asked = _draw_questions(clip, plan, rng, first, n_frames, is_snapshot=is_snapshot)
    if not asked:
        return None
    expiry = draw_expiry(n_frames, rng) if rng.random() < plan.evicting else None
    if expiry is None:
        expiry = np.full((N_GROUPS, n_frames * TOKENS_PER_FRAME), np.inf)
    frame_starts = draw_frame_starts(n_frames, rng, has_gaps=rng.random() < plan.gaps)
    tracked = np.full((n_frames, N_TRACKED), UNKNOWN) if is_snapshot else _tracked(clip, first, n_frames)
    return Episode(clip.features_FNE[first : first + n_frames], frame_starts, expiry, tuple(asked), tracked)


def draw_expiry(n_frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How long each vision token lives in each layer group, for one of the ways in which memories forget."""
    n_tokens = n_frames * TOKENS_PER_FRAME
    born_N = np.repeat(np.arange(n_frames, dtype=np.float64), TOKENS_PER_FRAME)
    way = rng.random()
    if way < 0.15:
        return np.tile(born_N + rng.integers(3, max(4, n_frames)), (N_GROUPS, 1))
    if way < 0.4:
        keep = rng.uniform(0.2, 0.9)
        alive_F = rng.random(n_frames) < keep
        life_F = np.where(alive_F, np.inf, rng.integers(0, 6, n_frames) + 0.75)
        return np.tile(born_N + np.repeat(life_F, TOKENS_PER_FRAME), (N_GROUPS, 1))
    shallow_N = born_N + rng.integers(4, max(5, min(24, n_frames)))
    middle_keep, deep_keep = rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.8)
    middle_N = born_N + _lifetimes(n_tokens, middle_keep, float(rng.integers(1, 8)), rng)
    deep_N = born_N + _lifetimes(n_tokens, deep_keep, 0.25 if rng.random() < 0.6 else 4.25, rng)
    return np.stack([shallow_N, middle_N, deep_N])


def draw_frame_starts(n_frames: int, rng: np.random.Generator, *, has_gaps: bool) -> NDArray[np.int64]:
    """Positions of the frames after the prefix: contiguous, or shifted, or with gaps anywhere in the model's range."""
    contiguous_F = np.arange(n_frames, dtype=np.int64) * TOKENS_PER_FRAME
    room = POSITION_LIMIT - _TAIL_POSITIONS - n_frames * TOKENS_PER_FRAME
    if not has_gaps:
        return contiguous_F
    offset = int(rng.integers(0, room)) if rng.random() < 0.6 else 0
    if rng.random() < 0.4:
        return contiguous_F + offset
    total = int((room - offset) * rng.random() ** 2)
    cuts_F = np.where(rng.random(n_frames) < rng.uniform(0.05, 0.8), rng.exponential(1.0, n_frames), 0.0)
    gaps_F = np.floor(cuts_F / max(cuts_F.sum(), 1e-9) * total).astype(np.int64)
    starts_F: NDArray[np.int64] = contiguous_F + offset + np.cumsum(gaps_F)
    return starts_F


def _lifetimes(n_tokens: int, keep: float, least: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Some tokens live for ever, the others for `least` frames and a random time more."""
    lost_N = least + rng.exponential(rng.uniform(0.5, 12.0), n_tokens)
    return np.where(rng.random(n_tokens) < keep, np.inf, lost_N)


def _scene_starts(clip: FeatureClip, n_frames: int) -> list[int]:
    """First frames of scenes that leave room for `n_frames`; an episode begins where its scene begins."""
    times, starts = clip.times_seconds, []
    for scene in clip.script.scenes:
        first = int(np.searchsorted(times, scene.start_seconds))
        if first + n_frames <= len(times):
            starts.append(first)
    return starts


def _draw_questions(
    clip: FeatureClip, plan: EpisodePlan, rng: np.random.Generator, first: int, n_frames: int, *, is_snapshot: bool
) -> list[Asked]:
    dice = Dice(int(rng.integers(2**31)))
    names = list(plan.tasks)
    weights = np.array(list(plan.tasks.values()))
    weights = weights / weights.sum()
    since = 0.0 if is_snapshot else clip.script.scene_at(clip.times_seconds[first]).start_seconds
    asked = []
    for _ in range(plan.n_questions):
        task = names[int(rng.choice(len(names), p=weights))]
        for _ in range(_ATTEMPTS):
            # Half of the questions fall anywhere, half late, where there is most to remember.
            share = rng.random() if rng.random() < 0.5 else rng.random() ** 0.35
            frame = min(int(share * n_frames), n_frames - 1)
            time = clip.times_seconds[first + frame] + float(rng.uniform(0, 0.95)) / clip.fps
            found = _ask(Viewpoint(clip.script, time, clip.fps, since), task, frame, dice)
            if found is not None:
                asked.append(found)
                break
    return asked


def _ask(view: Viewpoint, task: str, frame: int, dice: Dice) -> Asked | None:
    if task in _WINDOW_TASKS and not _is_window_known(view):
        return None
    if task in TASKS:
        question = question_at(view, task, dice)
        return None if question is None else Asked(task, question.question, question.answer, frame)
    return _guide(view, task, frame, dice)


def _is_window_known(view: Viewpoint) -> bool:
    return view.fps == _WINDOW_FPS or view.time_seconds - view.since_seconds < WINDOW_SECONDS


def _tracked(clip: FeatureClip, first: int, n_frames: int) -> NDArray[np.int64]:
    since = clip.script.scene_at(clip.times_seconds[first]).start_seconds
    views = [Viewpoint(clip.script, time, clip.fps, since) for time in clip.times_seconds[first : first + n_frames]]
    return np.array([tracked_labels(view, is_window_known=_is_window_known(view)) for view in views])


def _guide(view: Viewpoint, task: str, frame: int, dice: Dice) -> Asked | None:
    """A guidance prompt, often bare, at times with the turn that a dialogue would have remembered."""
    parts = {DESCRIBE: (describe_scene,), SUMMARIZE: (summarize,), MIXED: (describe_scene, summarize)}[task]
    prompt = {DESCRIBE: local_prompt, SUMMARIZE: global_prompt, MIXED: mixed_prompt}[task]
    texts = [part(view) for part in parts]
    if None in texts:
        return None
    earlier = question_at(view, dice.choice(list(TASKS)), dice) if dice.chance(_HISTORY_SHARE) else None
    turn = None if earlier is None else Turn(earlier.question, earlier.answer)
    answer = "; ".join(text for text in texts if text is not None)
    return Asked(task, prompt(turn), answer, frame, dice.chance(_BARE_SHARE))


def as_tasks(names: Sequence[str], weight: float = 1.0) -> dict[str, float]:
    """The same weight for each name."""
    return dict.fromkeys(names, weight)
