"""ShapeStream episodes as real video files, with the questions that they are judged by."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.errors import ConfigError, unknown_name
from hermes_stream.shapestream import (
    EVALUATION_SEEDS,
    TASKS,
    TRAINING_SEEDS,
    Question,
    Script,
    make_questions,
    make_script,
    write_episode,
)
from hermes_stream.types import Query

REGIMES = tuple(dict.fromkeys(TASKS.values()))
FILE_FPS = 24
FILE_SIZE = 640, 360
# From this length on, episodes have landmarks and files fewer frames: see docs/evals.md.
LONG_SECONDS = 240
LONG_FILE_FPS = 4
N_LANDMARKS = 10


@dataclass(frozen=True, slots=True)
class Episode:
    """A script and its questions in time order."""

    script: Script
    questions: tuple[TimedQuestion[Question], ...]

    @property
    def seed(self) -> int:
        return self.script.seed

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """An mp4 (24 fps, 640x360) that goes when the block ends. Long ones have 4 frames a second."""
        fps = FILE_FPS if self.script.duration_seconds < LONG_SECONDS else LONG_FILE_FPS
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "episode.mp4"
            write_episode(self.script, path, fps=fps, width=FILE_SIZE[0], height=FILE_SIZE[1])
            yield path


def episode_seeds(first: int, n_episodes: int) -> range:
    """Seeds of one range, held back or for training. Raises ConfigError for others."""
    if n_episodes < 1:
        raise ConfigError(f"{n_episodes} episodes were asked for; give at least 1")
    for seeds in (TRAINING_SEEDS, EVALUATION_SEEDS):
        if first in seeds and first + n_episodes - 1 in seeds:
            return range(first, first + n_episodes)
    raise ConfigError(
        f"the seeds {first} to {first + n_episodes - 1} are not of one range; held back are {_span(EVALUATION_SEEDS)}, "
        f"for training {_span(TRAINING_SEEDS)}"
    )


def are_held_back(seeds: range) -> bool:
    """Whether nothing was ever trained on these seeds."""
    return seeds.start in EVALUATION_SEEDS


def check_lengths(seconds: float, every_seconds: float, regimes: Collection[str]) -> None:
    """Raise ConfigError for what no episodes can be made of."""
    for name, value in (("--seconds", seconds), ("--every", every_seconds)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value:g}; give a number above 0")
    for regime in regimes:
        if regime not in REGIMES:
            raise ConfigError(unknown_name("regime", regime, REGIMES))


def make_episodes(
    seeds: range, *, seconds: float, fps: float, every_seconds: float, regimes: Collection[str] = REGIMES
) -> list[Episode]:
    """Episodes of a length, and their questions of some regimes.

    fps: the lowest rate at which they will be sampled; questions ask nothing that a viewer at this rate could miss.
    every_seconds: how often a question is tried. Long episodes have landmarks, and questions reach back to their
    beginning. Raises ConfigError for values that cannot be, and if nothing is asked.
    """
    check_lengths(seconds, every_seconds, regimes)
    is_long = seconds >= LONG_SECONDS
    episodes = []
    for seed in seeds:
        script = make_script(seed, seconds, landmarks=N_LANDMARKS if is_long else 0)
        asked = make_questions(script, fps=fps, every_seconds=every_seconds, reaches_back=is_long)
        wanted = [question for question in asked if question.regime in regimes]
        timed = tuple(TimedQuestion(question.time_s, Query(question.question), question) for question in wanted)
        episodes.append(Episode(script, timed))
    if not any(episode.questions for episode in episodes):
        raise ConfigError(
            f"{len(episodes)} episodes of {seconds:g} s with a question every {every_seconds:g} s have none of "
            f"{', '.join(regimes)}; make them longer, or ask more often"
        )
    return episodes


def _span(seeds: range) -> str:
    return f"{seeds.start} to {seeds.stop - 1}"
