"""What every source of pictures promises, whatever it reads from.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hermes_stream.types import Frame


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known about a source once its first picture was decoded.

    url: where it was opened, passwords and tokens masked.
    width, height: pixels of the first picture, rotation applied; live streams may change size later.
    duration_seconds: as the container declares it; None for live sources and where nothing is declared.
    average_fps: nominal pictures per second, a guess for variable-rate files; None if unknown.
    is_live: True if waiting does not help: pictures come in real time and have no end.
    codec: FFmpeg's name of the decoder, "none" for sources that decode nothing.
    """

    url: str
    width: int
    height: int
    duration_seconds: float | None
    average_fps: float | None
    is_live: bool
    codec: str


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be used so far, and why reading stopped.

    n_decode_errors: packets that the decoder refused.
    n_packets_skipped: places where the container itself could not be read.
    n_frames_corrupt: pictures that the decoder marked as damaged; they are used all the same.
    n_frames_dropped: pictures whose time stamp did not move forward, or jumped away for a single picture.
    n_time_resets: times at which the clock of the stream started anew; time goes on behind the last picture.
    ended_early: the source stopped before its declared end, or stopped sending.
    end_reason: one line about that, empty otherwise.
    broke_off: more was to come, but the connection ended or nothing arrived. Opening it again may help.
    """

    n_decode_errors: int = 0
    n_packets_skipped: int = 0
    n_frames_corrupt: int = 0
    n_frames_dropped: int = 0
    n_time_resets: int = 0
    ended_early: bool = False
    end_reason: str = ""
    broke_off: bool = False

    @property
    def is_damaged(self) -> bool:
        """True if anything was lost."""
        return self != Damage()

    @property
    def summary(self) -> str:
        """One line for people: "no damage found", or what was lost."""
        parts = [
            _counted(self.n_decode_errors, "packet that could not be decoded", "packets that could not be decoded"),
            _counted(self.n_packets_skipped, "unreadable place skipped", "unreadable places skipped"),
            _counted(self.n_frames_corrupt, "damaged picture used", "damaged pictures used"),
            _counted(self.n_frames_dropped, "picture out of order dropped", "pictures out of order dropped"),
            _counted(self.n_time_resets, "restart of the stream's clock", "restarts of the stream's clock"),
            self.end_reason,
        ]
        return ", ".join(part for part in parts if part) or "no damage found"


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}" if n else ""


@dataclass(frozen=True, slots=True, eq=False)
class LazyFrame:
    """A decoded picture that is not RGB yet: converting only the pictures that are wanted saves most of the work.

    pts_seconds: presentation time, in seconds since the first frame of the source.
    load_YXC: makes the uint8 RGB picture `[Y, X, 3]`, rotation applied.
    """

    pts_seconds: float
    load_YXC: Callable[[], NDArray[np.uint8]]

    def to_frame(self) -> Frame:
        """Convert now."""
        return Frame(pts_seconds=self.pts_seconds, image_YXC=self.load_YXC())


class VideoSource(Protocol):
    """Pictures in presentation order, read once.

    Guarantees: `pts_seconds` starts at 0 and strictly increases; damage is skipped and counted, never raised.
    Iterating and `lazy_frames()` share one position: either continues where the other stopped.
    Not for several threads at once, except `info` and `damage`, which may be read at any time. `close()` may be called
    twice; iteration ends after it.
    """

    @property
    def info(self) -> SourceInfo:
        """What is known about the source; constant."""
        ...

    @property
    def damage(self) -> Damage:
        """What was lost up to now."""
        ...

    def lazy_frames(self) -> Iterator[LazyFrame]:
        """The pictures that come next, not converted yet."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The pictures that come next, as RGB."""
        ...

    def close(self) -> None:
        """Give back files, connections and decoders."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
