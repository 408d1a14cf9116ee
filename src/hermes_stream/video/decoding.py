"""The loop that reads packets and decodes them, past everything that is damaged.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from hermes_stream.errors import SourceError
from hermes_stream.video.location import Kind, Location
from hermes_stream.video.open_errors import reason_of

# A hundred seconds of packets at 30 fps: far longer than any distance between key frames.
_MAX_PACKETS_BEFORE_FIRST_PICTURE = 3000
_MAX_SECONDS_BEFORE_FIRST_PICTURE = 60.0
_MAX_FAILED_READS_IN_A_ROW = 32
_QUARTER_TURN_DEGREES = 90


@dataclass(slots=True)
class Tally:
    """Running counts of one reader; written by its thread, read by any."""

    n_packets: int = 0
    n_pictures: int = 0
    n_decode_errors: int = 0
    n_packets_skipped: int = 0
    n_frames_corrupt: int = 0
    end_reason: str = ""
    broke_off: bool = False

    def break_off(self, reason: str) -> None:
        """There was more, but it could not be had."""
        self.end_reason, self.broke_off = reason, True


def decode_pictures(
    container: Any, stream: Any, location: Location, tally: Tally, read_timeout_seconds: float
) -> Iterator[Any]:
    """The pictures of one stream as FFmpeg gives them, in presentation order but with its time stamps untouched.

    Guarantees: damage is counted in `tally` and skipped; a stream that stops is an end with a reason, not an error.
    Gives up where thousands of packets, or a minute of a network stream, hold no picture at all.
    """
    started = time.monotonic()
    for packet in _read_packets(container, stream, location, tally, read_timeout_seconds):
        tally.n_packets += 1
        yield from _decode_packet(stream, packet, tally)
        if not tally.n_pictures and _is_hopeless(location, tally, started):
            return
    # The decoder still holds the last few pictures.
    yield from _decode_packet(stream, None, tally)


def _is_hopeless(location: Location, tally: Tally, started: float) -> bool:
    waited_seconds = time.monotonic() - started if location.kind is Kind.NETWORK else 0.0
    return tally.n_packets >= _MAX_PACKETS_BEFORE_FIRST_PICTURE or waited_seconds > _MAX_SECONDS_BEFORE_FIRST_PICTURE


def _read_packets(
    container: Any, stream: Any, location: Location, tally: Tally, read_timeout_seconds: float
) -> Iterator[Any]:
    n_failed = 0
    while n_failed < _MAX_FAILED_READS_IN_A_ROW:
        try:
            for packet in container.demux(stream):
                if packet.size == 0 and packet.dts is None:
                    # The end. Going on would raise IndexError if a stream appeared in the middle (PyAV 18.1).
                    return
                n_failed = 0
                if packet.size:  # the decoder takes an empty one for the end
                    yield packet
            return
        except av.error.ExitError:
            tally.break_off(f"nothing arrived for {read_timeout_seconds:g} s")
            return
        # IndexError: PyAV when damage makes FFmpeg see a new stream.
        except (av.FFmpegError, IndexError) as error:
            if location.kind is not Kind.FILE and isinstance(error, OSError):
                tally.break_off(f"the connection ended ({reason_of(error)})")
                return
            tally.n_packets_skipped += n_failed == 0
            n_failed += 1
    tally.end_reason = "the rest could not be read"


def _decode_packet(stream: Any, packet: Any | None, tally: Tally) -> Iterator[Any]:
    try:
        pictures = stream.codec_context.decode(packet)
    except av.FFmpegError:
        tally.n_decode_errors += 1
        return
    for picture in pictures:
        tally.n_pictures += 1
        tally.n_frames_corrupt += bool(picture.is_corrupt)
        yield picture


class RgbConverter:
    """Makes decoded pictures RGB, for one thread at a time.

    One of these per source, because `to_ndarray(format=...)` sets up a scaler for every picture (PyAV 18.1): megabytes
    each with FFmpeg 8.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def convert(self, picture: Any) -> NDArray[np.uint8]:
        """Decoded picture to uint8 RGB `[Y, X, 3]`, by its own colour space and range, turned upright.

        Raises SourceError if FFmpeg cannot convert its pixel format.
        """
        try:
            image_YXC: NDArray[Any] = self._reformatter.reformat(picture, format="rgb24").to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            name = picture.format.name
            raise SourceError(f"pictures in {name} cannot be made RGB; convert the video to H.264") from error
        return turned_counterclockwise(image_YXC, picture.rotation)


def turned_counterclockwise(image_YXC: NDArray[np.uint8], rotation_degrees: float) -> NDArray[np.uint8]:
    """Turn by the nearest multiple of 90 degrees; contiguous."""
    return np.ascontiguousarray(np.rot90(image_YXC, round(rotation_degrees / _QUARTER_TURN_DEGREES)))


def upright_size(picture: Any) -> tuple[int, int]:
    """Width and height of a decoded picture once it is turned upright."""
    is_sideways = round(picture.rotation / _QUARTER_TURN_DEGREES) % 2 == 1
    return (picture.height, picture.width) if is_sideways else (picture.width, picture.height)
