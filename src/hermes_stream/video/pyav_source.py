"""Videos through FFmpeg: files, network streams and devices, opened by one function and read past any damage.

Shape letters: Y X C image height, width, channel.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.codec.context import Flags

from hermes_stream.errors import SourceError
from hermes_stream.types import Frame
from hermes_stream.video.clock import PresentationClock, StampChooser
from hermes_stream.video.decoding import RgbConverter, Tally, decode_pictures, upright_size
from hermes_stream.video.location import Kind, Location, locate
from hermes_stream.video.open_errors import check_local_file, source_error
from hermes_stream.video.outside import Opener, Outside
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo
from hermes_stream.video.stream_info import (
    choose_stream,
    declared_seconds,
    guess_is_live,
    nominal_fps,
    pictures_seconds,
)

OPEN_TIMEOUT_SECONDS = 20.0
# An HLS server may rightly be silent for the length of a segment.
READ_TIMEOUT_SECONDS = 30.0
# Twice those of 8K.
_MOST_PIXELS = 8192 * 8192
_FALLBACK_INTERVAL_SECONDS = Fraction(1, 25)
_MISSING_SECONDS_TOLERATED = 1.0
_FIRST_STEP_BACK_SECONDS = 2.0


def open_source(
    source: str | Path,
    *,
    live: bool | None = None,
    open_timeout_seconds: float = OPEN_TIMEOUT_SECONDS,
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    opener: Opener | None = None,
    through: str | None = None,
) -> PyAvSource:
    """Open a video and decode its first picture.

    source: a path; an address (`rtsp://`, `http(s)://` also of HLS and DASH, `rtmp://`, `udp://`, ...); a device
        (`/dev/video0`, or FFmpeg's format and name: `avfoundation:0`, `lavfi:testsrc=size=64x48`).
    live: whether pictures come in real time; None decides by the source (devices, and network streams without end).
    open_timeout_seconds, read_timeout_seconds: how long a network stream may be silent; files have no limit.
    opener: opens the source, and whatever it names (segments, keys), in FFmpeg's place; FFmpeg itself then opens
        nothing. For files and HTTP.
    through: an RTSP address on this machine that forwards to the source and is opened in its place, over this one TCP
        connection; messages go on naming the source.
    Raises SourceError, with one line, for anything from which no picture can be had, and what the opener raises.
    """
    location = locate(source)
    if location.kind is Kind.FILE:
        check_local_file(location)
    if through is not None:
        location = replace(location, url=through)
    timeouts = (open_timeout_seconds, read_timeout_seconds)
    with ExitStack() as opened:
        outside = None if opener is None else _outside(opener, location, open_timeout_seconds)
        if outside is not None:
            opened.callback(outside.close)
        try:
            container = opened.enter_context(_open_container(location, timeouts, _options(location, through), outside))
            found = PyAvSource(
                container, location, live=live, read_timeout_seconds=read_timeout_seconds, outside=outside
            )
        except SourceError as error:
            if outside is None or not outside.failure:
                raise
            raise SourceError(f"cannot open {location.shown}: {outside.failure}") from error
        opened.pop_all()
        return found


def _outside(opener: Opener, location: Location, open_timeout_seconds: float) -> Outside:
    try:
        return Outside(opener, location.url, open_timeout_seconds)
    except OSError as error:
        raise SourceError(f"cannot open {location.shown}: {error}") from error


def _options(location: Location, through: str | None) -> dict[str, str]:
    if through is not None:
        return {"rtsp_transport": "tcp", "protocol_whitelist": "tcp"}
    # FFmpeg would ask for RTSP over UDP first, whose lost packets look like damage.
    return {"rtsp_flags": "prefer_tcp"} if location.url.lower().startswith("rtsp") else {}


def _open_container(
    location: Location, timeouts: tuple[float, float], options: dict[str, str], outside: Outside | None
) -> Any:
    # No fflags=nobuffer, though it is often advised for live streams: it throws away what was read while probing (5.8 s
    # of an FLV stream, FFmpeg 8.1), and a reader that never waits has caught up with the buffer at once anyway.
    more: dict[str, Any] = {}
    if location.kind is Kind.NETWORK:
        more["timeout"] = timeouts
    if outside is not None:
        more["io_open"], options = outside.open, options | outside.options
    # FFmpeg knows a playlist by its ending alone, or by a type that it asks its own connections for.
    container_format = "hls" if outside is not None and outside.is_playlist else location.format
    try:
        return av.open(location.url, format=container_format, options=options, **more)
    # Beside its own tree PyAV raises ValueError for a format that its build lacks.
    except (av.FFmpegError, ValueError) as error:
        raise source_error(location, error, timeouts[0]) from error


class PyAvSource:
    """One video stream of one container; a `VideoSource`. Made by `open_source`.

    Times come from the container's stamps, relative to the first decoded picture; a picture without a stamp follows the
    one before by one nominal interval. Rotation in quarter turns is applied. Pixels are taken as square.
    """

    def __init__(
        self,
        container: Any,
        location: Location,
        *,
        live: bool | None,
        read_timeout_seconds: float,
        outside: Outside | None = None,
    ) -> None:
        self._container = container
        self._location = location
        self._outside = outside
        self._stream = choose_stream(container, location)
        n_bytes = None if outside is None else outside.n_bytes
        self._is_live = guess_is_live(container, location, n_bytes) if live is None else live
        self._fps = nominal_fps(self._stream)
        self._nominal_interval_seconds = 1 / self._fps if self._fps else _FALLBACK_INTERVAL_SECONDS
        self._prepare_decoder()
        self._tally = Tally()
        self._converter = RgbConverter()
        self._clock: PresentationClock[Any] = PresentationClock()
        self._is_closed = False
        self._read_timeout_seconds = read_timeout_seconds
        self._reader = self._read()
        first = next(self._reader, None)
        if first is None:
            raise SourceError(self._no_picture())
        if outside is not None:
            outside.has_opened()
        self._info = self._describe(first[0])
        self._pictures = itertools.chain([first], self._reader)

    @property
    def info(self) -> SourceInfo:
        """What is known about the video; constant."""
        return self._info

    @property
    def damage(self) -> Damage:
        """What was lost up to now; may be read from any thread."""
        return Damage(
            n_decode_errors=self._tally.n_decode_errors,
            n_packets_skipped=self._tally.n_packets_skipped,
            n_frames_corrupt=self._tally.n_frames_corrupt,
            n_frames_dropped=self._clock.n_dropped,
            n_time_resets=self._clock.n_resets,
            ended_early=bool(self._tally.end_reason),
            end_reason=self._tally.end_reason,
            broke_off=self._tally.broke_off,
        )

    def lazy_frames(self) -> Iterator[LazyFrame]:
        """The pictures that come next, decoded but not converted."""
        while not self._is_closed:
            placed = next(self._pictures, None)
            if placed is None:
                return
            picture, seconds = placed
            yield LazyFrame(float(seconds), partial(self._converter.convert, picture))

    def __iter__(self) -> Iterator[Frame]:
        for frame in self.lazy_frames():
            yield frame.to_frame()

    def skip_to(self, seconds: float) -> None:
        """Go on with the last key frame at or before a time of this video; what lies between is not decoded.

        Times stay those since the video's first picture. Where a file cannot be sought in, nothing happens: whoever
        wants no earlier pictures passes over them. Only right after opening, or to a time later than any given yet.
        """
        if not self._clock.knows_origin:
            return
        clock, back_seconds = self._clock, 0.0
        while self._seek(seconds - back_seconds):
            self._reader.close()
            self._clock = copy(clock)
            self._reader = self._read()
            first = next(self._reader, None)
            self._pictures = itertools.chain([] if first is None else [first], self._reader)
            # Containers without an index (MPEG-TS) may land behind the last key frame before the time, or at the end.
            if back_seconds > seconds or (first is not None and first[1] <= seconds):
                return
            self._tally.end_reason = ""
            back_seconds = max(2 * back_seconds, _FIRST_STEP_BACK_SECONDS)

    def _seek(self, seconds: float) -> bool:
        """Whether the container could."""
        stamp = (self._clock.origin_seconds + Fraction(seconds)) / Fraction(self._stream.time_base or 1)
        try:
            self._container.seek(int(stamp), stream=self._stream, backward=True)
        except av.FFmpegError:
            return False
        return True

    def close(self) -> None:
        """Close the container. Only from the thread that iterates, or when none does."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reader.close()
        self._container.close()
        if self._outside is not None:
            self._outside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PyAvSource({self._location.shown!r})"

    def _prepare_decoder(self) -> None:
        context = self._stream.codec_context
        # A few bytes may claim a picture that takes all memory; later ones may be larger than the header says.
        context.options = {"max_pixels": str(_MOST_PIXELS)}
        if context.width * context.height > _MOST_PIXELS:
            raise SourceError(
                f"{self._location.shown} has pictures of {context.width} x {context.height} pixels; up to "
                f"{_MOST_PIXELS} in all are decoded, make them smaller"
            )
        # Frame threads give every picture a few pictures late; slice threads do not.
        self._stream.thread_type = "SLICE" if self._is_live else "AUTO"
        # On the decoder itself, because options given to av.open do not reach it (PyAV 18.1). Where pictures are
        # reordered (MPEG-2, MPEG-4 with B-pictures) the flag would give them in decoding order.
        if self._is_live and not context.has_b_frames:
            context.flags |= Flags.low_delay

    def _read(self) -> Generator[tuple[Any, Fraction], None, None]:
        """Pictures and their seconds; damage is counted, never raised. After a seek, none that was given before."""
        chooser, has_sought = StampChooser(), self._clock.knows_origin
        # The stream's, because pictures that were flushed out of the decoder carry none (PyAV 18.1).
        time_base = Fraction(self._stream.time_base or _FALLBACK_INTERVAL_SECONDS)
        for picture in decode_pictures(
            self._container, self._stream, self._location, self._tally, self._read_timeout_seconds
        ):
            stamp = chooser.choose(picture.pts, picture.dts)
            stamp_seconds = None if stamp is None else stamp * time_base
            if has_sought and self._clock.has_placed(stamp_seconds):
                continue
            interval_seconds = (picture.duration or 0) * time_base or self._nominal_interval_seconds
            yield from self._clock.place(picture, stamp_seconds, interval_seconds)
        yield from self._clock.flush()
        if self._outside is not None and self._outside.failure:
            self._tally.break_off(self._outside.failure)
        self._note_missing_end()

    def _note_missing_end(self) -> None:
        declared = pictures_seconds(self._container, self._stream)
        if self._is_live or declared is None or self._tally.end_reason:
            return
        end_seconds = float(self._clock.end_seconds)
        # Some containers count from their own zero, some from the first picture: the later reading is the lenient one.
        reached = max(end_seconds, end_seconds + float(self._clock.origin_seconds))
        if declared - reached > max(_MISSING_SECONDS_TOLERATED, 2 * float(self._nominal_interval_seconds)):
            self._tally.end_reason = f"ended at {end_seconds:.1f} s of {declared:.1f} s"

    def _no_picture(self) -> str:
        n_refused = self._tally.n_decode_errors
        codec = self._stream.codec_context.name
        if n_refused:
            reason = f"the {codec} decoder refused {n_refused} packet{'s' if n_refused > 1 else ''}"
        else:
            reason = self._tally.end_reason or "its video stream holds no data"
        hint = "check that something is sent" if self._location.kind is Kind.NETWORK else "copy or record it again"
        return f"{self._location.shown}: no picture could be decoded ({reason}); {hint}"

    def _describe(self, picture: Any) -> SourceInfo:
        width, height = upright_size(picture)
        return SourceInfo(
            url=self._location.shown,
            width=width,
            height=height,
            duration_seconds=None if self._is_live else declared_seconds(self._container, self._stream),
            average_fps=float(self._fps) if self._fps else None,
            is_live=self._is_live,
            codec=self._stream.codec_context.name,
        )
