"""What an inspection watches and asks: a video file or a ShapeStream episode, each with its questions."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Protocol

import numpy as np

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream import TASKS, Viewpoint, make_script, question_at, render_frame
from hermes_stream.shapestream.script import Dice
from hermes_stream.types import Frame
from hermes_stream.video import open_source, open_video

# Asked of a plain video where nothing else is given: about now, about before, about the whole.
DEFAULT_QUESTIONS = (
    "What is on the screen now?",
    "What happened first?",
    "What is happening in this video?",
    "What changed since the beginning?",
    "Where does this take place?",
    "Which objects can be seen?",
    "How many people appear?",
    "What happened just before this moment?",
)
_EPISODE = re.compile(r"shapestream:(\d+)(?:-(\d+))?")
_PREFIX = "shapestream:"
_EPISODE_SIZE = 640, 360
# Tasks are tried this often for a question that was not asked yet.
_ROUNDS = 4


class Clip(Protocol):
    """Frames in time order, and questions that make sense after the last of them."""

    @property
    def name(self) -> str: ...

    def frames(self, fps: float) -> Generator[Frame]:
        """Sampled frames; everything is closed with the generator."""
        ...

    @property
    def damage(self) -> str:
        """What could not be read, in one line, once the frames have ended; empty if nothing."""
        ...

    def questions(self, n: int, end_seconds: float, fps: float) -> list[str]:
        """Up to n different ones for a viewer whose newest frame shows `end_seconds`."""
        ...


class VideoClip:
    """A file, or another source that ends. Raises SourceError at once if it cannot be read."""

    def __init__(self, name: str) -> None:
        with open_source(name) as source:
            if source.info.is_live:
                raise ConfigError(f"{source.info.url} is live and has no end; inspect a file")
        self.name = name
        self.damage = ""

    def frames(self, fps: float) -> Generator[Frame]:
        with open_video(self.name, fps=fps, live=False) as video:
            yield from video
            self.damage = video.damage.summary if video.damage.is_damaged else ""

    def questions(self, n: int, end_seconds: float, fps: float) -> list[str]:  # noqa: ARG002
        """The first n of `DEFAULT_QUESTIONS`."""
        return list(DEFAULT_QUESTIONS[:n])


class EpisodeClip:
    """A ShapeStream episode, drawn at the sampled moments, and questions with certain answers at its end."""

    damage = ""

    def __init__(self, seed: int, duration_seconds: float) -> None:
        self.name = f"{_PREFIX}{seed}"
        self._script = make_script(seed, duration_seconds)

    def frames(self, fps: float) -> Generator[Frame]:
        for index in range(int(self._script.duration_seconds * fps)):
            yield Frame(index / fps, render_frame(self._script, index / fps, *_EPISODE_SIZE))

    def questions(self, n: int, end_seconds: float, fps: float) -> list[str]:
        """Tasks in turn, from another one on in each episode, so that all of them have their part."""
        view, dice = Viewpoint(self._script, end_seconds, fps), Dice(self._script.seed)
        tasks = list(TASKS)
        start = self._script.seed % len(tasks)
        asked: dict[str, None] = {}
        for task in (tasks[start:] + tasks[:start]) * _ROUNDS:
            question = question_at(view, task, dice)
            if question is not None and len(asked) < n:
                asked[question.question] = None
        return list(asked)


def open_clips(sources: Sequence[str], *, episode_seconds: float) -> list[Clip]:
    """Clips of `VIDEO`, `shapestream:SEED` and `shapestream:FIRST-LAST` (each of the seeds), in the given order.

    Raises SourceError or ConfigError for a source that cannot be watched to an end.
    """
    clips: list[Clip] = []
    for source in sources:
        match = _EPISODE.fullmatch(source)
        if match is None and source.startswith(_PREFIX):
            raise ConfigError(f"cannot read the source {source!r}; write shapestream:SEED or shapestream:FIRST-LAST")
        if match is None:
            clips.append(VideoClip(source))
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"{source!r} has no seeds; write the smaller one first")
        clips.extend(EpisodeClip(seed, episode_seconds) for seed in range(first, last + 1))
    return clips


def shuffled(frames: Sequence[Frame]) -> list[Frame]:
    """The control: the same pictures at the same times, in a random order (always the same one)."""
    order = np.random.default_rng(0).permutation(len(frames))
    return [Frame(frame.pts_seconds, frames[index].image_YXC) for frame, index in zip(frames, order, strict=True)]
