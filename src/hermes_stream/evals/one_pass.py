"""One pass over a video: every entry watches it once, side by side, and each question is asked at its time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from hermes_stream.errors import SourceError
from hermes_stream.evals.asking import Asker, Due, Given, error_reply
from hermes_stream.evals.item import Item
from hermes_stream.evals.side_by_side import SideBySide, Stop, stop_in_time
from hermes_stream.evals.task import Task
from hermes_stream.types import Frame
from hermes_stream.video import Video, open_pictures, open_video

_Key = TypeVar("_Key")

PAST_THE_END, BEFORE_THE_START = "past the end", "before the first frame"


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a video that is watched, and what is asked of it, in the order of times.

    start_seconds: the first moment. end_seconds: nothing that is shown later is asked about. frame_rate: see `Item`.
    """

    start_seconds: float
    end_seconds: float
    frame_rate: float | None
    dues: tuple[Due, ...]

    @property
    def times(self) -> list[float]:
        return [due.seconds for due in self.dues]

    @contextmanager
    def open(self, path: Path, fps: float) -> Iterator[Shown]:
        """Its sampled frames. Raises SourceError for what cannot be decoded."""
        with _open(path, fps, self) as video:
            yield Shown(video, self.end_seconds)


def clips_of(task: Task, items: Sequence[Item]) -> list[Clip]:
    """How the items of one video are asked: those that begin at the same moment share a pass.

    An item is asked of its clip: never later than that ends.
    """
    by_start: dict[float, list[Item]] = {}
    for item in items:
        by_start.setdefault(item.clip[0], []).append(item)
    return [_clip(task, start, by_start[start]) for start in sorted(by_start)]


def _clip(task: Task, start: float, items: Sequence[Item]) -> Clip:
    dues = [Due(item, ask, min(ask.seconds, item.clip[1])) for item in items for ask in task.polls(item)]
    in_time = sorted(dues, key=lambda due: due.seconds)
    return Clip(start, max(due.seconds for due in dues), items[0].frame_rate, tuple(in_time))


def _open(path: Path, fps: float, clip: Clip) -> Video:
    if not path.is_dir() and path.suffix != ".npy":
        return open_video(path, fps=fps, live=False, start_seconds=clip.start_seconds)
    if clip.frame_rate is None:
        raise SourceError(f"{path} is pictures, and nothing says how many a second; the benchmark must give a rate")
    return Video(open_pictures(path, clip.frame_rate), fps=fps, start_seconds=clip.start_seconds)


class Shown:
    """The frames of a clip; iterate once."""

    def __init__(self, video: Video, end_seconds: float) -> None:
        self._video, self._end_seconds = video, end_seconds

    def __iter__(self) -> Iterator[Frame]:
        """The first frame whatever its time: nobody is asked about nothing."""
        for index, frame in enumerate(self._video):
            if index and frame.pts_seconds > self._end_seconds:
                return
            yield frame

    @property
    def early_end(self) -> str:
        """Why a file ended before it should have, as one that was not downloaded whole; empty if it did not."""
        return self._video.damage.end_reason


class OnePass(Generic[_Key]):
    """Askers of one video, by who they ask for. batch_frames: see `stop_in_time`."""

    def __init__(self, side: SideBySide[_Key], askers: dict[_Key, Asker], *, batch_frames: int, fps: float) -> None:
        self.side, self._askers = side, askers
        self._batch_frames, self._tick_seconds = batch_frames, 1 / fps

    def run(self, frames: Iterable[Frame], clip: Clip, *, to_end: bool = False) -> Iterator[list[tuple[_Key, Given]]]:
        """What came back at each stop. Who fails is in `side.failed`, and has replies with the error to all else.

        Frames that cannot be read are everybody's error: SourceError is raised.
        """
        open_keys, n_done = list(self.side.sessions), 0
        for stop in stop_in_time(self.side, frames, clip.times, batch_frames=self._batch_frames, to_end=to_end):
            dues = [self._flagged(clip.dues[index], stop) for index in stop.due]
            yield self._ask(dues, stop)
            n_done = stop.due.stop
        failed = [key for key in open_keys if key in self.side.failed]
        if left := [(key, given) for key in failed for given in self._lost(key, clip.dues[n_done:])]:
            yield left

    def _ask(self, dues: Sequence[Due], stop: Stop) -> list[tuple[_Key, Given]]:
        """Everybody at once; who fails has an error for what it did not answer here."""
        answered: dict[_Key, list[Given]] = {key: [] for key in self._askers}
        running = {key: stop.pool.submit(self._drain, key, dues, answered[key]) for key in self.side.sessions}
        for key, done in running.items():
            if isinstance(error := done.exception(), Exception):
                self.side.drop(key, error)
        for key in self.side.failed:
            keys = {given.ask.key for given in answered[key]}
            answered[key] += self._lost(key, [due for due in dues if due.ask.key not in keys])
        return [(key, given) for key, of_key in answered.items() for given in of_key]

    def _drain(self, key: _Key, dues: Sequence[Due], given: list[Given]) -> None:
        # One by one: what came back before a failure stays.
        for one in self._askers[key].ask(dues):
            given.append(one)  # noqa: PERF402

    def _lost(self, key: _Key, dues: Sequence[Due]) -> list[Given]:
        """Without what an earlier run has."""
        error, asker = self.side.failed[key], self._askers[key]
        return [Given(due.item, due.ask, error_reply(due, error)) for due in dues if not asker.knows(due.ask.key)]

    def _flagged(self, due: Due, stop: Stop) -> Due:
        """Nobody sees nothing, and a question about what never came is said to be one."""
        if stop.is_end and math.isfinite(due.seconds) and due.seconds > stop.newest_seconds + self._tick_seconds:
            return replace(due, flags=(*due.flags, PAST_THE_END))
        if due.seconds < stop.newest_seconds:
            return replace(due, flags=(*due.flags, BEFORE_THE_START))
        return due
