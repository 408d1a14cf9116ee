"""Pictures that are already in memory, or made on the fly, as a source like any other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import SourceError
from hermes_stream.types import Frame
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo


class MemorySource:
    """A `VideoSource` over given frames: for tests, demos and pictures that another program makes.

    frames: RGB pictures in time order, the first at 0 seconds; consumed one at a time.
    Raises SourceError if there is no first frame.
    """

    def __init__(
        self,
        frames: Iterable[Frame],
        *,
        name: str = "memory",
        duration_seconds: float | None = None,
        average_fps: float | None = None,
        is_live: bool = False,
    ) -> None:
        self._frames = iter(frames)
        self._first = next(self._frames, None)
        self._is_closed = False
        if self._first is None:
            raise SourceError(f"{name} has no frames; give at least one")
        height, width = self._first.image_YXC.shape[:2]
        self._info = SourceInfo(name, width, height, duration_seconds, average_fps, is_live, "none")

    @property
    def info(self) -> SourceInfo:
        """What was given to the constructor."""
        return self._info

    @property
    def damage(self) -> Damage:
        """Nothing is ever lost here."""
        return Damage()

    def lazy_frames(self) -> Iterator[LazyFrame]:
        """The frames that come next; converting them costs nothing."""
        for frame in self:
            yield LazyFrame(frame.pts_seconds, partial(_same, frame.image_YXC))

    def __iter__(self) -> Iterator[Frame]:
        while not self._is_closed:
            frame, self._first = self._first or next(self._frames, None), None
            if frame is None:
                return
            yield frame

    def close(self) -> None:
        """End the iteration."""
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _same(image_YXC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image_YXC
