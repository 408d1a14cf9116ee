"""Videos that are published as pictures: a folder of image files, or one array of them.

Shape letters: F frames, Y X C image height, width, channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hermes_stream.errors import ConfigError, SourceError
from hermes_stream.types import Frame
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class PictureSource:
    """A `VideoSource` of pictures at an even rate, the first at 0 seconds; read when they are wanted."""

    def __init__(self, name: str, n_frames: int, load: Callable[[int], NDArray[np.uint8]], frame_rate: float) -> None:
        """Raises SourceError if the first picture cannot be read."""
        self._n_frames, self._load, self._frame_rate = n_frames, load, frame_rate
        self._next = 0
        height, width = load(0).shape[:2]
        self._info = SourceInfo(name, width, height, n_frames / frame_rate, frame_rate, False, "none")

    @property
    def info(self) -> SourceInfo:
        """Constant."""
        return self._info

    @property
    def damage(self) -> Damage:
        """A picture that cannot be read is an error, not damage."""
        return Damage()

    def lazy_frames(self) -> Iterator[LazyFrame]:
        """The pictures that come next, not read yet."""
        while self._next < self._n_frames:
            index, self._next = self._next, self._next + 1
            yield LazyFrame(index / self._frame_rate, partial(self._load, index))

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.lazy_frames():
            yield frame.to_frame()

    def close(self) -> None:
        """End the iteration."""
        self._next = self._n_frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_pictures(path: Path, frame_rate: float) -> PictureSource:
    """A folder of image files, in the order of the numbers in their names, or a `.npy` array `[F, Y, X, C]` of uint8.

    frame_rate: pictures a second. Raises SourceError where there are none, ConfigError for a rate that is none.
    """
    if not frame_rate > 0:
        raise ConfigError(f"pictures at {frame_rate} a second were asked for; give a number above 0")
    return _open_folder(path, frame_rate) if path.is_dir() else _open_array(path, frame_rate)


def _open_folder(path: Path, frame_rate: float) -> PictureSource:
    files = sorted((each for each in path.iterdir() if each.suffix.lower() in _ENDINGS), key=_by_number)
    if not files:
        raise SourceError(f"{path} holds no pictures; expected files such as 00001.jpg")
    return PictureSource(str(path), len(files), lambda index: _read_picture(files[index]), frame_rate)


def _by_number(path: Path) -> tuple[list[int], str]:
    """2.jpg comes before 10.jpg."""
    return [int(digits) for digits in re.findall(r"\d+", path.name)], path.name


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise SourceError(f"{path}: not readable as a picture; copy it again") from error


def _open_array(path: Path, frame_rate: float) -> PictureSource:
    try:
        # Mapped, not read: half an hour of pictures may be larger than memory.
        frames_FYXC = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: not readable as an array of pictures ({error}); copy it again") from error
    if frames_FYXC.dtype != np.uint8 or frames_FYXC.ndim != 4 or frames_FYXC.shape[-1] != 3 or not len(frames_FYXC):
        raise SourceError(
            f"{path} holds {frames_FYXC.dtype} {list(frames_FYXC.shape)}; expected uint8 [frames, height, width, 3]"
        )
    return PictureSource(
        str(path), len(frames_FYXC), lambda index: np.ascontiguousarray(frames_FYXC[index]), frame_rate
    )
