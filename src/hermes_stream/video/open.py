"""`open_video`: from the name of a video to the frames that a model looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from hermes_stream.errors import ConfigError
from hermes_stream.stages import DECODE, stage
from hermes_stream.types import Frame
from hermes_stream.video.location import Kind, locate
from hermes_stream.video.open_errors import check_local_file
from hermes_stream.video.prefetch import Prefetcher
from hermes_stream.video.pyav_source import open_source
from hermes_stream.video.sampler import sample_by_time
from hermes_stream.video.source import Damage, LazyFrame, SourceInfo, VideoSource

DEFAULT_PREFETCH_FRAMES = 32
# Pictures of a 4K video take 25 MB each: fewer of them wait.
_MAX_PREFETCH_BYTES = 256 * 2**20
_N_COLOURS = 3


class Video:
    """The sampled frames of one source, read ahead by one thread. Made by `open_video`, or from any `VideoSource`.

    Iterate it, or call `batches`; both take from the same stream, which is read once. Files: nothing is dropped. Live:
    when the consumer is slow the oldest waiting frames are dropped and counted in `n_dropped`.
    start_seconds: of the first tick of the clock that frames are sampled by; what was shown before is passed over.
    after_seconds: frames up to this time are passed over, unconverted; the others are the same as without.
    Owns the source and closes it. Use it as a context manager, or call `close()`.
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        fps: float | None,
        prefetch_frames: int = DEFAULT_PREFETCH_FRAMES,
        start_seconds: float = 0.0,
        after_seconds: float = -math.inf,
    ) -> None:
        self._source = source
        try:
            self._prefetcher = Prefetcher(
                _sampled_frames(source, fps, start_seconds, after_seconds),
                _capacity(source.info, prefetch_frames),
                is_live=source.info.is_live,
                on_finish=source.close,
            )
        except ConfigError:
            source.close()
            raise

    @property
    def info(self) -> SourceInfo:
        """What is known about the source; constant."""
        return self._source.info

    @property
    def damage(self) -> Damage:
        """What could not be read so far; complete once the iteration has ended."""
        return self._source.damage

    @property
    def n_dropped(self) -> int:
        """Sampled frames that a live source made faster than they were taken."""
        return self._prefetcher.n_dropped

    def __iter__(self) -> Iterator[Frame]:
        # Not the prefetcher itself: `yield from` would close it with the generator that it stands in.
        return (frame for frame in self._prefetcher)

    def batches(self, n_frames: int) -> Iterator[list[Frame]]:
        """Frames in lists of `n_frames`, the last one shorter.

        Raises ConfigError if `n_frames` is below 1.
        """
        if n_frames < 1:
            raise ConfigError(f"a batch of {n_frames} frames was asked for; give at least 1")
        return self._batches(n_frames)

    def _batches(self, n_frames: int) -> Iterator[list[Frame]]:
        while batch := list(islice(self._prefetcher, n_frames)):
            yield batch

    def end(self) -> None:
        """End the iteration and wait for nothing; from any thread. `close` does the rest."""
        self._prefetcher.end()

    def close(self) -> None:
        """End the iteration, the thread and the source; may be called twice and from any thread.

        A network stream that is silent at this moment is let go when its read timeout ends.
        """
        self._prefetcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Video({self.info.url!r})"


def open_video(
    source: str | Path,
    *,
    fps: float | None,
    live: bool | None = None,
    prefetch_frames: int = DEFAULT_PREFETCH_FRAMES,
    start_seconds: float = 0.0,
) -> Video:
    """Open a file, a network address or a device and sample it by time.

    source: as for `open_source`: a path, `rtsp://...`, `https://...`, `/dev/video0`, `lavfi:testsrc`, ...
    fps: frames per second to look at, taken nearest to the ticks of a clock; None or 0 for every frame.
    live: True drops frames rather than fall behind, False never drops; None decides by the source.
    prefetch_frames: how many sampled frames may wait; fewer when they are very large.
    start_seconds: look at nothing before this time; it is sought where the file allows that. Frames keep their times.
    Raises SourceError at once, with one line, if no picture can be decoded; ConfigError for impossible numbers.
    """
    # Numbers are checked before anything is opened.
    sample_by_time((), fps)
    if prefetch_frames < 1:
        raise ConfigError(f"prefetch_frames is {prefetch_frames}; at least 1 frame must be able to wait")
    if not (math.isfinite(start_seconds) and start_seconds >= 0):
        raise ConfigError(f"start_seconds is {start_seconds}; give 0 or a time of the video")
    opened = open_source(source, live=live)
    if start_seconds:
        opened.skip_to(start_seconds)
    return Video(opened, fps=fps, prefetch_frames=prefetch_frames, start_seconds=start_seconds)


def check_source(source: str | Path) -> None:
    """Raise SourceError for a path where no video can be, without opening anything; other sources are not judged."""
    location = locate(source)
    if location.kind is Kind.FILE:
        check_local_file(location)


def _sampled_frames(
    source: VideoSource, fps: float | None, start_seconds: float, after_seconds: float
) -> Iterator[Frame]:
    """Sampling comes before conversion: a picture that is not wanted is never made RGB."""
    shown = (frame for frame in source.lazy_frames() if frame.pts_seconds >= start_seconds)
    sampled = sample_by_time(shown, fps, start_seconds=start_seconds)
    return _converted(frame for frame in sampled if frame.pts_seconds > after_seconds)


def _converted(frames: Iterator[LazyFrame]) -> Iterator[Frame]:
    while True:
        with stage(DECODE):
            frame = next(frames, None)
            converted = None if frame is None else frame.to_frame()
        if converted is None:
            return
        yield converted


def _capacity(info: SourceInfo, prefetch_frames: int) -> int:
    n_fitting = _MAX_PREFETCH_BYTES // max(1, info.width * info.height * _N_COLOURS)
    return min(prefetch_frames, max(2, n_fitting))
