"""What a container says about itself, believed only as far as it deserves."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import av
from av.stream import Discard, Disposition

from hermes_stream.errors import SourceError
from hermes_stream.video.location import Kind, Location

# RTP streams without a rate report that of their clock, 90 kHz.
_MAX_BELIEVABLE_FPS = 1000
# Playlists report the size of their text, which says nothing about the length of the stream.
_PLAYLIST_FORMATS = frozenset({"hls", "dash", "rtsp", "sdp"})
# FFmpeg draws text files as pictures of a terminal when their ending is .txt or .nfo.
_TEXT_ART_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
_CLOCK_TEXT = re.compile(r"^(\d+):(\d\d):(\d\d(?:\.\d+)?)$")


def choose_stream(container: Any, location: Location) -> Any:
    """The video stream to watch: FFmpeg's best one, never the cover picture of an audio file; the others are discarded.

    Raises SourceError if there is none, or none that can be decoded.
    """
    if container.format.name in _TEXT_ART_FORMATS:
        raise SourceError(f"{location.shown} is a text file, not a video; give a video file")
    candidates = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not candidates:
        held = ", ".join(sorted({_kind_of(stream) for stream in container.streams})) or "nothing"
        raise SourceError(f"{location.shown} has no video stream (it holds {held}); give a file with moving pictures")
    decodable = [stream for stream in candidates if stream.codec_context is not None]
    if not decodable:
        raise SourceError(f"{location.shown}: this FFmpeg has no decoder for its video; convert it to H.264 in mp4")
    best = container.streams.best("video")
    chosen = best if best in decodable else decodable[0]
    for stream in container.streams:
        if stream is not chosen:
            # HLS would download every quality level, and the sound.
            stream.discard = Discard.all
    return chosen


def _kind_of(stream: Any) -> str:
    if stream.type == "video":
        return "a cover picture"
    return str(stream.type)


def guess_is_live(container: Any, location: Location, n_bytes: int | None = None) -> bool:
    """Devices, and network streams that declare neither a duration nor a size. n_bytes: that size, if it is known."""
    if location.kind is Kind.DEVICE:
        return True
    if location.kind is Kind.FILE or container.duration is not None:
        return False
    is_playlist = any(name in _PLAYLIST_FORMATS for name in container.format.name.split(","))
    return is_playlist or (n_bytes or container.size or 0) <= 0


def nominal_fps(stream: Any) -> Fraction | None:
    """Pictures per second as declared or guessed; None if unknown or absurd."""
    rate = stream.average_rate or stream.guessed_rate
    if rate is None or not 0 < rate <= _MAX_BELIEVABLE_FPS:
        return None
    return Fraction(rate)


def declared_seconds(container: Any, stream: Any) -> float | None:
    """How long the pictures last, or the whole container where it says nothing about its streams."""
    of_pictures = pictures_seconds(container, stream)
    return of_pictures if of_pictures is not None else _container_seconds(container)


def pictures_seconds(container: Any, stream: Any) -> float | None:
    """How long the pictures last, None if only something longer (the sound, say) may be declared."""
    whole = _container_seconds(container)
    own = _stream_seconds(stream)
    if own is None:
        return whole if len(container.streams) == 1 else None
    # A trimmed mp4 declares the stream before trimming and the container after it.
    return own if whole is None else min(own, whole)


def _container_seconds(container: Any) -> float | None:
    # 0 is what containers say that were never finished.
    return container.duration / av.time_base if container.duration else None


def _stream_seconds(stream: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * Fraction(stream.time_base))
    # Matroska writes it as a tag of the stream.
    clock = _CLOCK_TEXT.match(stream.metadata.get("DURATION", ""))
    return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]) if clock else None
