"""The synthetic world as a live source: it goes on for ever, and a picture is drawn only when somebody looks.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import Script, scenes_of
from hermes_stream.types import Frame
from hermes_stream.video.pace import Pace
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo


class LiveWorld:
    """A `VideoSource` without end: what it shows at t is what `make_script(seed, long)` says of `start_seconds + t`.

    fps, width, height: of the pictures. start_seconds: how much of the world has gone by. speed: seconds of the world
    in a second. Holds one scene at a time, however long it runs. `close` may be called from any thread.
    Raises ConfigError for a rate, a speed or a start that cannot be.
    """

    def __init__(
        self,
        seed: int,
        *,
        fps: float = 24.0,
        width: int = 640,
        height: int = 360,
        start_seconds: float = 0.0,
        speed: float = 1.0,
    ) -> None:
        if not (fps > 0 and speed > 0 and start_seconds >= 0):
            raise ConfigError(
                f"fps is {fps:g}, speed {speed:g}, start {start_seconds:g}; give positive rates and a start from 0 on"
            )
        self._seed, self._fps, self._size = seed, fps, (width, height)
        self._start_seconds = start_seconds
        self._pace = Pace(is_live=False, speed=speed)
        self._closed = threading.Event()
        self._frames = self._run()

    @property
    def info(self) -> SourceInfo:
        """As of any source."""
        return SourceInfo(f"shapestream:{self._seed}", *self._size, None, self._fps, is_live=True, codec="none")

    @property
    def damage(self) -> Damage:
        """Nothing is ever lost here."""
        return Damage()

    def lazy_frames(self) -> Iterator[LazyFrame]:
        """The pictures that come next, each when its time has come."""
        return self._frames

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            yield frame.to_frame()

    def close(self) -> None:
        """End the iteration, also while it waits."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> Iterator[LazyFrame]:
        scenes = scenes_of(self._seed)
        scene = next(scenes)
        for index in itertools.count():
            pts_seconds = index / self._fps
            time_seconds = self._start_seconds + pts_seconds
            while scene.end_seconds <= time_seconds:
                scene = next(scenes)
            self._pace.arrive(pts_seconds)
            if self._closed.wait(self._pace.wait_seconds(pts_seconds)):
                return
            script = Script(self._seed, scene.end_seconds, (scene,))
            yield LazyFrame(pts_seconds, partial(_drawn, script, time_seconds, *self._size))


def _drawn(script: Script, time_seconds: float, width: int, height: int) -> NDArray[np.uint8]:
    return render_frame(script, time_seconds, width, height)
