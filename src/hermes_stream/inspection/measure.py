"""The investigation: stream clips through a first-in-first-out memory, ask, and gather what the questions look at.

Source: HERMES, arXiv 2601.14724, section 3 (its figure averages the attention of questions over the cache, for a
first-in-first-out memory re-numbered at each eviction). The indices per layer, their controls and the partition are
ours: the paper shows curves of three layers and states the rest.

Shape letters: S clips, L layers, H query heads, F frames (grids) of the window, P tokens of a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError
from hermes_stream.inspection.clips import Clip, shuffled
from hermes_stream.inspection.indices import FEATURES, INDICES, Floats, frame_peaks
from hermes_stream.inspection.window import Window, window_of

# First in, first out, positions made contiguous at each eviction, as in the paper.
MEMORY = "sliding-window(positions=compact)"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to watch and what to ask.

    budget: tokens of the window, or bytes; chunk: frames between two evictions; fps: all None for the checkpoint's.
    questions: asked of every clip; without any, each clip's own, up to `n_questions`.
    shuffle: the control with pictures in random order.
    """

    budget: str | int | None = None
    chunk: int | None = None
    fps: float | None = None
    questions: tuple[str, ...] = ()
    n_questions: int = 8
    shuffle: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """One clip as it was inspected. damage: what of it could not be read."""

    name: str
    n_frames: int
    questions: tuple[str, ...]
    damage: str = ""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What all questions together looked at.

    budget_tokens, chunk_frames, fps: as they were in force. grid: rows and columns of a frame's tokens.
    curve_LFP: attention to each token of the window, oldest frame first; mean over heads and questions.
    index_SL: by name, each clip's mean over its questions of the question's own index (see `indices`). Questions of one
        clip look at the same memory, so clips, not questions, are the independent samples.
    head_L: the partition's features per head, by name, `[L, H]`.
    curve_index_L: the same indices of the mean curve, which is what the paper draws. Averaging takes out what differs
        between clips, so a fixed raster position shows more clearly in it.
    peak_LP: of all frames of all questions, the share whose largest weight stands at each raster position.
    share_LG: of the attention: prefix, frames, separators, the question itself.
    """

    watched: tuple[Watched, ...]
    budget_tokens: int
    chunk_frames: int
    fps: float
    grid: tuple[int, int]
    curve_LFP: Floats
    index_SL: dict[str, Floats]
    head_LH: dict[str, Floats]
    curve_index_L: dict[str, Floats]
    peak_LP: Floats
    share_LG: Floats

    @property
    def n_layers(self) -> int:
        return len(self.curve_LFP)

    @property
    def index_L(self) -> dict[str, Floats]:
        """By name, the mean over clips."""
        return {name: index_SL.mean(axis=0) for name, index_SL in self.index_SL.items()}

    @property
    def error_L(self) -> dict[str, Floats]:
        """By name, the standard error of that mean; empty for a single clip."""
        n_clips = len(next(iter(self.index_SL.values())))
        if n_clips < 2:
            return {}
        return {name: index_SL.std(axis=0, ddof=1) / np.sqrt(n_clips) for name, index_SL in self.index_SL.items()}

    @property
    def feature_SLC(self) -> Floats:
        """What the partition is measured by, of each clip: recency, anchors, spread."""
        return np.stack([self.index_SL[name] for name in FEATURES], axis=-1)


def inspect_clips(
    engine: Engine, clips: Sequence[Clip], settings: Settings, on_question: Callable[[str, int], None] | None = None
) -> Inspection:
    """Watch each clip to its last whole interval, ask every question there, and average.

    on_question: called after each with the clip's name and the number of questions so far.
    Raises ConfigError for a clip that does not fill the window, and for clips with grids of different shapes.
    """
    chunk_frames = engine.defaults.chunk_frames if settings.chunk is None else settings.chunk
    chunk_frames = _whole_grids(chunk_frames, engine.model.frames_per_grid)
    fps = engine.defaults.fps if settings.fps is None else settings.fps
    tally = _Tally()
    watched, budget = [], 0
    for clip in clips:
        with engine.open(MEMORY, budget=settings.budget, chunk=chunk_frames) as session:
            budget = session.policy.budget_tokens or 0
            _watch(session, clip, fps, shuffle=settings.shuffle)
            stats = session.stats
            texts = settings.questions or clip.questions(settings.n_questions, stats.time_seconds, fps)
            for text in texts:
                tally.add(clip.name, window_of(session.attention(text)))
                if on_question is not None:
                    on_question(clip.name, len(tally.heads))
            watched.append(Watched(clip.name, stats.frames_seen, tuple(texts), clip.damage))
    if not tally.heads:
        raise ConfigError("no question has a certain answer at the end of these episodes; give one with --question")
    return tally.finish(tuple(watched), budget, chunk_frames, fps)


def _whole_grids(n_frames: int, frames_per_grid: int) -> int:
    """An interval must end with a grid, or the newest frame would not be in the memory."""
    return -(-n_frames // frames_per_grid) * frames_per_grid


def _watch(session: Session, clip: Clip, fps: float, *, shuffle: bool) -> None:
    """Whole intervals only, so that the newest token ends a frame and every clip leaves as many rows."""
    with closing(clip.frames(fps)) as frames:
        taken = iter(shuffled(list(frames))) if shuffle else frames
        while len(batch := list(islice(taken, session.chunk_frames))) == session.chunk_frames:
            session.watch(batch)
    stats = session.stats
    if not stats.n_compressions:
        raise ConfigError(
            f"{clip.name}: {stats.frames_seen + len(batch)} frames at {fps:g} fps, in intervals of "
            f"{session.chunk_frames}, never fill the window of {session.policy.budget_tokens} tokens; give a longer "
            "video, a smaller budget, shorter intervals or more frames per second"
        )


@dataclass
class _Tally:
    """Sums over questions; what one question looked at is not kept."""

    grid: tuple[int, int] | None = None
    curve_LFP: Floats | None = None
    by_clip: dict[str, list[dict[str, Floats]]] = field(default_factory=dict)
    heads: list[dict[str, Floats]] = field(default_factory=list)
    peaks_LP: NDArray[np.int64] | None = None
    shares: list[Floats] = field(default_factory=list)

    def add(self, clip: str, window: Window) -> None:
        if self.grid is not None and window.grid != self.grid:
            raise ConfigError(
                f"{clip}: frames of {_times(window.grid)} tokens after frames of {_times(self.grid)}; inspect videos "
                "of one picture shape together"
            )
        self.grid = window.grid
        weight_LFP = window.weight_LHFP.mean(axis=1)
        self.curve_LFP = _add_newest(self.curve_LFP, weight_LFP)
        self.by_clip.setdefault(clip, []).append({name: index(weight_LFP) for name, index in INDICES.items()})
        self.heads.append({name: INDICES[name](window.weight_LHFP) for name in FEATURES})
        n_cells = weight_LFP.shape[-1]
        peaks_LP = np.stack([np.bincount(peak_F, minlength=n_cells) for peak_F in frame_peaks(weight_LFP)])
        self.peaks_LP = peaks_LP if self.peaks_LP is None else self.peaks_LP + peaks_LP
        self.shares.append(window.share_LG)

    def finish(self, watched: tuple[Watched, ...], budget: int, chunk_frames: int, fps: float) -> Inspection:
        assert self.curve_LFP is not None
        assert self.grid is not None
        assert self.peaks_LP is not None
        curve_LFP = self.curve_LFP / len(self.heads)
        clips = [_means(rows) for rows in self.by_clip.values()]
        return Inspection(
            watched=watched,
            budget_tokens=budget,
            chunk_frames=chunk_frames,
            fps=fps,
            grid=self.grid,
            curve_LFP=curve_LFP,
            index_SL={name: np.stack([clip[name] for clip in clips]) for name in INDICES},
            head_LH=_means(self.heads),
            curve_index_L={name: index(curve_LFP) for name, index in INDICES.items()},
            peak_LP=self.peaks_LP / self.peaks_LP.sum(axis=1, keepdims=True),
            share_LG=np.mean(self.shares, axis=0),
        )


def _add_newest(total_LFP: Floats | None, weight_LFP: Floats) -> Floats:
    """The sum over the newest frames that both have: separators of varying length make windows differ by a frame."""
    if total_LFP is None:
        return weight_LFP
    n_frames = min(total_LFP.shape[1], weight_LFP.shape[1])
    total: Floats = total_LFP[:, -n_frames:] + weight_LFP[:, -n_frames:]
    return total


def _means(rows: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}


def _times(grid: tuple[int, int]) -> str:
    return f"{grid[0]}×{grid[1]}"
