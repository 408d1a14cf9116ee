"""Pictures and videos inside a request, as the frames of one stream."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from hermes_stream.errors import SourceError, UsageError
from hermes_stream.server.openai_api.data_uri import data_of, is_data_uri
from hermes_stream.server.problems import ApiError
from hermes_stream.server.pull.opening import Opening
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.push.images import PictureFormat
from hermes_stream.server.settings import Limits
from hermes_stream.types import Frame
from hermes_stream.video import Video, open_source
from hermes_stream.video.outside import Opened

# Of a request; what it holds itself is limited by its size.
_MOST_ADDRESSES = 64
# What FFmpeg is told that it opens, and people are if it cannot.
_INSIDE = "request://video"


@dataclass(frozen=True, slots=True)
class MediaPart:
    """A picture or a video by its address. place: where the request has it, as in "messages.0.content.1"."""

    kind: Literal["image", "video"]
    url: str = field(repr=False)
    place: str


class MediaReader:
    """Opens what a client names or sends. Everything but `close` blocks, so it belongs on a thread of its own."""

    def __init__(self, limits: Limits, sources: Sources, decoding: Executor) -> None:
        """decoding: threads on which pictures are decoded."""
        self._limits, self._sources, self._decoding = limits, sources, decoding
        self._opening: Opening | None = None
        self._is_closed = False

    def frames(self, parts: Sequence[MediaPart], fps: float) -> Iterator[Frame]:
        """All of them one after the other, on one time line, `1/fps` seconds between two.

        fps: pictures per second of a video that are looked at.
        Raises ApiError that names the part.
        """
        _check_number(parts)
        start = 0.0
        for part in parts:
            end = start
            try:
                for frame in self._pictures(part, fps):
                    end = start + frame.pts_seconds
                    yield replace(frame, pts_seconds=end)
            except UsageError as error:
                raise ApiError(400, "invalid_source", f"{part.place}: {error}", part.place) from error
            start = end + 1 / fps

    def close(self) -> None:
        """Whoever takes frames is soon at the end; may be called from any thread."""
        self._is_closed = True
        if self._opening is not None:
            self._opening.close()

    def _pictures(self, part: MediaPart, fps: float) -> Iterator[Frame]:
        """Raises UsageError for what is none, or may not be had."""
        most_bytes = self._limits.max_video_bytes
        if part.kind == "image":
            form = PictureFormat(self._limits.max_frame_bytes, self._limits.max_frame_pixels)
            is_inside = is_data_uri(part.url)
            data = data_of(part.url) if is_inside else self._sources.read(part.url, most_bytes=form.max_bytes)
            yield self._decoding.submit(form.to_frame, data, 0.0).result()
            return
        if is_data_uri(part.url):
            opened = _inside(part.url, fps)
        else:
            opened = self._sources.open(part.url, fps=fps, most_bytes=most_bytes, on_opening=self._note)
        with opened as video:
            yield from video

    def _note(self, opening: Opening) -> None:
        self._opening = opening
        if self._is_closed:
            opening.close()


@contextmanager
def _inside(uri: str, fps: float) -> Iterator[Video]:
    """A video that the request itself holds. Raises SourceError where it is none, or names anything else."""
    data = data_of(uri)

    def opened(url: str) -> Opened:
        if url != _INSIDE:
            raise SourceError("a video in a request may not name other files or addresses; give one that holds all")
        return Opened(io.BytesIO(data), url, len(data))

    with Video(open_source(_INSIDE, live=False, opener=opened), fps=fps) as video:
        yield video


def _check_number(parts: Sequence[MediaPart]) -> None:
    outside = [part for part in parts if not is_data_uri(part.url)]
    if len(outside) > _MOST_ADDRESSES:
        told = f"messages: {len(outside)} addresses; up to {_MOST_ADDRESSES} are opened for a request, ask about fewer"
        raise ApiError(400, "invalid_request", told, "messages")
