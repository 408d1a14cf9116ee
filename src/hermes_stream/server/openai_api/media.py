"""Pictures and videos inside a request, as the frames of one stream."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hermes_stream.errors import SourceError, UsageError
from hermes_stream.server.images import PictureFormat
from hermes_stream.server.openai_api.data_uri import data_of, is_data_uri
from hermes_stream.server.problems import ApiError, problem_of
from hermes_stream.server.settings import Limits
from hermes_stream.types import Frame
from hermes_stream.video.open import Video
from hermes_stream.video.pyav_source import open_source

# The bytes behind an address, at most so many. Raises HermesError for what may not or cannot be had.
Fetch = Callable[[str, int], bytes]


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A picture or a video by its address. place: where the request has it, as in "messages.0.content.1"."""

    kind: Literal["image", "video"]
    url: str = field(repr=False)
    place: str


class MediaReader:
    """Opens what clients name or send; blocks, so it belongs on a thread of its own."""

    def __init__(self, limits: Limits, fetch: Fetch) -> None:
        self._limits, self._fetch = limits, fetch

    def frames(self, parts: Sequence[MediaPart], fps: float) -> Iterator[Frame]:
        """All of them one after the other, on one time line, `1/fps` seconds between two.

        fps: pictures per second of a video that are looked at. All parts together may have `max_video_bytes`.
        Raises ApiError that names the part.
        """
        start, n_left = 0.0, self._limits.max_video_bytes
        for part in parts:
            end = start
            try:
                data = self._data(part, n_left)
                n_left -= len(data)
                for frame in self._pictures(part, data, fps):
                    end = start + frame.pts_seconds
                    yield replace(frame, pts_seconds=end)
            except UsageError as error:
                problem = problem_of(error)
                told = f"{part.place}: {problem.message}"
                raise ApiError(problem.status, "invalid_source", told, part.place) from error
            start = end + 1 / fps

    def _data(self, part: MediaPart, most_bytes: int) -> bytes:
        if not is_data_uri(part.url):
            return self._fetch(part.url, most_bytes)
        try:
            data = data_of(part.url)
        except ValueError as error:
            raise ApiError(400, "invalid_source", f"{part.place}: {error}", part.place) from error
        if len(data) > most_bytes:
            most = self._limits.max_video_bytes
            told = f"{part.place}: the media of a request may have {most} bytes together; give less"
            raise ApiError(413, "too_large", told, part.place)
        return data

    def _pictures(self, part: MediaPart, data: bytes, fps: float) -> Iterator[Frame]:
        if part.kind == "image":
            picture = PictureFormat(self._limits.max_frame_bytes, self._limits.max_frame_pixels)
            return iter([picture.to_frame(data, 0.0)])
        return _video_frames(data, fps, self._limits.max_frame_pixels)


def _video_frames(data: bytes, fps: float, max_pixels: int) -> Iterator[Frame]:
    """Raises SourceError where the bytes are no video, or one that names other files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        path.write_bytes(data)
        try:
            with Video(open_source(path, alone=True, max_pixels=max_pixels), fps=fps) as video:
                yield from video
        except SourceError as error:
            raise SourceError(str(error).replace(str(path), "the video")) from error
