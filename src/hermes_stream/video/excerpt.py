"""Frames out of the middle of a long video file, without reading what is before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from hermes_stream.errors import SourceError
from hermes_stream.types import Frame
from hermes_stream.video.decoding import RgbConverter
from hermes_stream.video.location import locate
from hermes_stream.video.open_errors import check_local_file, source_error
from hermes_stream.video.stream_info import choose_stream

# A picture that far behind the last wanted time cannot be the nearest one to it.
_BEHIND_SECONDS = 2.0


def read_frames_at(path: Path, times_seconds: Sequence[float]) -> list[Frame]:
    """The frame nearest to each time, the earlier one of two that are equally near; times must not fall.

    Times count from the file's first picture, as in `open_video`; the frames have those of the file. Raises SourceError
    for a file that cannot be read, and where it ends before the last time.
    """
    location = locate(path)
    check_local_file(location)
    try:
        with av.open(location.url) as container:
            stream = choose_stream(container, location)
            pictures = _pictures_from(container, stream, times_seconds[0])
            return _nearest(pictures, times_seconds, path)
    except (av.FFmpegError, ValueError) as error:
        raise source_error(location, error, 0.0) from error


def _pictures_from(container: Any, stream: Any, seconds: float) -> Iterator[tuple[float, Any]]:
    """Pictures with their times, from the last key frame before a time on."""
    base = Fraction(stream.time_base)
    origin = stream.start_time or 0
    # A file that cannot seek is read from its beginning.
    with suppress(av.FFmpegError):
        container.seek(origin + int(Fraction(seconds) / base), stream=stream, backward=True)
    for picture in container.decode(stream):
        if picture.pts is not None:
            yield float((picture.pts - origin) * base), picture


def _nearest(pictures: Iterator[tuple[float, Any]], times_seconds: Sequence[float], path: Path) -> list[Frame]:
    converter, frames = RgbConverter(), []
    before = next(pictures, None)
    after = next(pictures, None)
    made: Frame | None = None
    for time in times_seconds:
        while after is not None and before is not None and abs(after[0] - time) < abs(before[0] - time):
            before, after, made = after, next(pictures, None), None
        if before is None or (after is None and time - before[0] > _BEHIND_SECONDS):
            raise SourceError(
                f"{path}: nothing is shown at {time:g} s; the file ends before, take that of the transcript"
            )
        made = made or Frame(before[0], converter.convert(before[1]))
        frames.append(made)
    return frames
