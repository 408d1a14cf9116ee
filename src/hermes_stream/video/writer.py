"""Pictures in, a video file out: one streaming pass, exact rates, never a half-written file under the final name.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from hermes_stream.errors import ConfigError, SourceError

# A float rate such as 30000/1001 is given back as that fraction: no other one with a denominator below this is as near.
_MAX_RATE_DENOMINATOR = 1_000_000
# Whole ticks for 24, 25, 30, 50, 60, 30000/1001 and for milliseconds; below the 65535 that MPEG-4 part 2 allows.
_VARIABLE_RATE_TIME_BASE = Fraction(1, 60_000)
_DEFAULT_FORMAT = "mp4"
_DEFAULT_PIXEL_FORMAT = "yuv420p"
_PIXEL_FORMATS = {"ffv1": "bgr0", "libx264rgb": "rgb24", "png": "rgb24", "gif": "rgb8", "mjpeg": "yuvj420p"}
_HALVED_PLANES = frozenset({"yuv420p", "yuvj420p"})
# libvpx takes crf for quality only when no bit rate is asked for; libx265 would print to standard error.
_CODEC_OPTIONS = {"libvpx": {"b": "0"}, "libvpx-vp9": {"b": "0"}, "libx265": {"x265-params": "log-level=error"}}
_FORMATS_WITHOUT_TIMES = frozenset({"avi"})
_N_COLOURS = 3


def write_video(
    path: str | Path | BinaryIO,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float | Fraction,
    codec: str = "libx264",
    crf: int = 18,
    format: str | None = None,  # noqa: A002 - the word that FFmpeg and PyAV use
    times_seconds: Iterable[float] | None = None,
) -> None:
    """Encode RGB pictures as they come and write them as one video.

    path: a file name, whose ending chooses the container, or an open binary file (mp4 unless `format` says otherwise).
    frames: uint8 RGB `[Y, X, 3]`, all of one size, at least one; consumed one at a time.
    fps: pictures per second, kept as an exact fraction (29.97 is 2997/100, and 30000/1001 stays itself).
    codec: an FFmpeg encoder. Most halve their colour planes and need even sizes: an odd picture is padded with a copy
        of its last row or column, so the video is one pixel larger there. `ffv1` is exact and keeps odd sizes.
    crf: quality where the codec has that scale (lower is better); other codecs ignore it.
    times_seconds: when each picture is shown, strictly increasing, for a variable rate; one each (not in avi).
    Guarantees: a named file appears complete or not at all, and an existing one is replaced only by a complete one.
    Raises ConfigError for pictures, rates, times or codecs that cannot be encoded, SourceError if writing fails.
    """
    encoder = _VideoEncoder(_exact_rate(fps), codec, crf, is_variable=times_seconds is not None)
    images = _with_pts(frames, times_seconds, encoder.time_base)
    if isinstance(path, (str, Path)):
        with _foreign_errors(str(path)), _replaced_when_complete(Path(path)) as temporary_path:
            encoder.encode_all(str(temporary_path), format, images)
    else:
        with _foreign_errors("the open file"):
            encoder.encode_all(path, format or _DEFAULT_FORMAT, images)


def _exact_rate(fps: float | Fraction) -> Fraction:
    if not math.isfinite(fps) or fps <= 0:
        raise ConfigError(f"fps is {fps}; a video needs a positive rate")
    return Fraction(fps).limit_denominator(_MAX_RATE_DENOMINATOR)


def _with_pts(
    frames: Iterable[NDArray[np.uint8]], times_seconds: Iterable[float] | None, time_base: Fraction
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Pair each picture with its integer time stamp in units of `time_base`."""
    if times_seconds is None:
        yield from enumerate(frames)
        return
    times = iter(times_seconds)
    previous_pts: int | None = None
    for index, image_YXC in enumerate(frames):
        seconds = next(times, None)
        if seconds is None or not math.isfinite(seconds):
            raise ConfigError(
                f"picture {index} has time {seconds}; times_seconds needs one finite time for each picture"
            )
        pts = round(Fraction(seconds) / time_base)
        if previous_pts is not None and pts <= previous_pts:
            raise ConfigError(f"picture {index} has time {seconds} s, not after the one before; sort times_seconds")
        previous_pts = pts
        yield pts, image_YXC


class _VideoEncoder:
    """One video stream; it is made when the first picture says how large it is."""

    def __init__(self, rate: Fraction, codec: str, crf: int, *, is_variable: bool) -> None:
        self.time_base = _VARIABLE_RATE_TIME_BASE if is_variable else 1 / rate
        self._is_variable = is_variable
        self._rate = rate
        self._codec = codec
        self._options = {"crf": str(crf), **_CODEC_OPTIONS.get(codec, {})}
        self._pixel_format = _PIXEL_FORMATS.get(codec, _DEFAULT_PIXEL_FORMAT)

    def encode_all(
        self, target: str | BinaryIO, container_format: str | None, images: Iterator[tuple[int, NDArray[np.uint8]]]
    ) -> None:
        """Write one container; `images` are pairs of time stamp and picture, at least one."""
        first = next(images, None)
        if first is None:
            raise ConfigError("there are no pictures to write; a video needs at least one")
        shape = _checked_shape(first[1])
        with self._open(target, container_format) as container:
            stream = self._add_stream(container, shape)
            self._encode_one(container, stream, *first)
            for pts, image_YXC in images:
                if _checked_shape(image_YXC) != shape:
                    raise ConfigError(
                        f"a picture is {list(image_YXC.shape)}, the first one was {list(shape)}; resize it"
                    )
                self._encode_one(container, stream, pts, image_YXC)
            container.mux(stream.encode(None))

    def _open(self, target: str | BinaryIO, container_format: str | None) -> Any:
        try:
            container = av.open(target, "w", format=container_format)
        except av.FFmpegError:
            raise
        except ValueError as error:
            raise ConfigError(f"{error}; use an ending such as .mp4, .mkv or .webm, or name the format") from error
        if self._is_variable and container.format.name in _FORMATS_WITHOUT_TIMES:
            container.close()
            raise ConfigError(f"{container.format.name} files keep no times of single pictures; write .mp4 or .mkv")
        return container

    def _add_stream(self, container: Any, shape: tuple[int, ...]) -> Any:
        try:
            stream = container.add_stream(self._codec, rate=self._rate, options=self._options)
        except av.FFmpegError:
            raise
        except ValueError as error:
            hint = "try libx264 in .mp4, libvpx-vp9 in .webm or ffv1 in .mkv"
            raise ConfigError(f"cannot encode with {self._codec!r}: {error}; {hint}") from error
        stream.height, stream.width = (side + self._n_pad(side) for side in shape[:2])
        stream.pix_fmt = self._pixel_format
        # Only on the codec: setting the stream's time base as well makes the encoder refuse to open (EINVAL).
        stream.codec_context.time_base = self.time_base
        return stream

    def _encode_one(self, container: Any, stream: Any, pts: int, image_YXC: NDArray[np.uint8]) -> None:
        n_pad_Y, n_pad_X = (self._n_pad(side) for side in image_YXC.shape[:2])
        padded_YXC = (
            np.pad(image_YXC, ((0, n_pad_Y), (0, n_pad_X), (0, 0)), mode="edge") if n_pad_Y or n_pad_X else image_YXC
        )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded_YXC), format="rgb24")
        frame.pts = pts
        frame.time_base = self.time_base
        container.mux(stream.encode(frame))

    def _n_pad(self, side: int) -> int:
        return side % 2 if self._pixel_format in _HALVED_PLANES else 0


def _checked_shape(image_YXC: NDArray[np.uint8]) -> tuple[int, ...]:
    shape = tuple(image_YXC.shape)
    if image_YXC.dtype != np.uint8 or len(shape) != _N_COLOURS or shape[2] != _N_COLOURS or 0 in shape:
        raise ConfigError(f"a picture is {image_YXC.dtype} {list(shape)}; expected uint8 [height, width, 3], RGB")
    return shape


@contextmanager
def _replaced_when_complete(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it on success and removed on failure."""
    try:
        # The ending is kept, because FFmpeg chooses the container by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise SourceError(
            f"cannot write {path}: {error.strerror}; choose a folder that exists and is writable"
        ) from error
    os.close(handle)
    temporary_path = Path(name)
    try:
        yield temporary_path
        _give_default_mode(temporary_path)
        _rename(temporary_path, path)
    finally:
        with suppress(FileNotFoundError):
            temporary_path.unlink()


def _give_default_mode(path: Path) -> None:
    """mkstemp makes files that only their owner may read; give the mode that open() would have given."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _rename(temporary_path: Path, path: Path) -> None:
    try:
        temporary_path.replace(path)
    except OSError as error:
        raise SourceError(f"cannot write {path}: {error.strerror}; choose another name") from error


@contextmanager
def _foreign_errors(name: str) -> Iterator[None]:
    try:
        yield
    except av.FFmpegError as error:
        raise SourceError(f"cannot write {name}: {error.strerror}; try another codec or file ending") from error
