"""Small pictures of the frames that a session still knows, by their times.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import io
import threading
import zipfile
from bisect import bisect_left
from collections.abc import Collection, Iterable

import numpy as np
from PIL import Image

from hermes_stream.types import Frame

_WIDTH_PIXELS = 192
_QUALITY = 80
# Beyond what the memory holds: the newest, and as many spread over the whole stream.
_NEWEST = 64
_MOST = 4096
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def to_jpeg(frame: Frame, width: int | None = None) -> bytes:
    """A frame as JPEG, at most so many pixels wide."""
    image = Image.fromarray(frame.image_YXC)
    if width is not None and image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


class Thumbnails:
    """JPEGs by presentation time, never more than 4,096; safe to use from several threads."""

    def __init__(self, pictures: dict[float, bytes] | None = None) -> None:
        self._lock = threading.Lock()
        self._pictures = dict(sorted((pictures or {}).items()))

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def n_bytes(self) -> int:
        with self._lock:
            return sum(map(len, self._pictures.values()))

    @property
    def times(self) -> list[float]:
        """Seconds of the pictures, in order."""
        with self._lock:
            return list(self._pictures)

    def add(self, frame: Frame) -> None:
        """Frames come in time order."""
        picture = to_jpeg(frame, _WIDTH_PIXELS)
        with self._lock:
            self._pictures[frame.pts_seconds] = picture

    def nearest(self, time_seconds: float) -> tuple[float, bytes] | None:
        """The picture whose time is nearest, with its time; None where there is none."""
        with self._lock:
            times = list(self._pictures)
            if not times:
                return None
            index = bisect_left(times, time_seconds)
            time = min(times[max(index - 1, 0) : index + 1], key=lambda t: abs(t - time_seconds))
            return time, self._pictures[time]

    def keep(self, held_times: Collection[float]) -> None:
        """Part with pictures of frames that the memory does not hold, but for the newest and some of all ages."""
        with self._lock:
            times = list(self._pictures)
            spread = times[:: max(len(times) // _NEWEST, 1)]
            wanted = {*held_times, *times[-_NEWEST:], *spread}
            kept = [time for time in times if time in wanted]
            # Of too many, evenly over time.
            kept = kept[:: -(-len(kept) // _MOST)] if kept else kept
            self._pictures = {time: self._pictures[time] for time in kept}

    def forget(self, start_seconds: float, end_seconds: float) -> int:
        """Delete the pictures of a time range; returns how many these were."""
        with self._lock:
            kept = {t: picture for t, picture in self._pictures.items() if not start_seconds <= t < end_seconds}
            n_gone = len(self._pictures) - len(kept)
            self._pictures = kept
            return n_gone

    def until(self, time_seconds: float) -> Thumbnails:
        """Those of frames up to a time."""
        with self._lock:
            return Thumbnails({time: picture for time, picture in self._pictures.items() if time <= time_seconds})

    def to_bytes(self) -> bytes:
        """All of them in one zip file."""
        with self._lock:
            pictures = dict(self._pictures)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for time, picture in pictures.items():
                archive.writestr(zipfile.ZipInfo(f"{float(time)!r}.jpg", _ZIP_EPOCH), picture)
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Thumbnails:
        """What `to_bytes` made."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return Thumbnails({float(name.removesuffix(".jpg")): archive.read(name) for name in archive.namelist()})


def held_seconds(seconds: Iterable[np.ndarray]) -> set[float]:
    """The distinct times of many arrays of them."""
    return {float(time) for array in seconds for time in np.unique(array)}
