"""Sources on their way in: each is opened by one thread and can be given up by any other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from hermes_stream.errors import SourceError
from hermes_stream.server.pull.http_source import Web
from hermes_stream.server.pull.networks import Forbidden, Networks
from hermes_stream.server.pull.rtsp import RtspForwarder
from hermes_stream.server.pull.source_rules import LocalFile
from hermes_stream.shapestream.world import LiveWorld
from hermes_stream.video import Video, VideoSource, open_source
from hermes_stream.video.location import mask_secrets
from hermes_stream.video.outside import Opened

_FILE_PREFIX = "file:"


class Opening(ABC):
    """Opens one source once.

    is_remote: whether what fails may work a moment later. is_synchronous: whether its frames count from where the
    session stood when it was opened; otherwise a live source begins when its first frame comes.
    most_pixels: of a picture.
    """

    is_remote = False
    is_synchronous = False
    most_pixels: float = math.inf

    def __init__(self) -> None:
        self._video: Video | None = None
        self._start_seconds = 0.0
        self._is_given_up = False

    def open(self, *, fps: float, start_seconds: float = 0.0, after_seconds: float = -math.inf) -> Video:
        """Its frames, so many a second; blocks until the first one is there.

        start_seconds: where the session stands, for a synchronous source. after_seconds: frames up to then are left
        out, if the source has an end. Raises SourceError, Forbidden among them.
        """
        self._start_seconds = start_seconds
        source = self._open()
        self._check_size(source)
        after_seconds = -math.inf if source.info.is_live else after_seconds
        self._video = Video(source, fps=fps, after_seconds=after_seconds)
        if self._is_given_up:
            self._video.end()
        return self._video

    def give_up(self) -> None:
        """Whoever opens it or takes its frames is at the end; from any thread, and waits for nothing."""
        self._is_given_up = True
        self._let_go()
        if self._video is not None:
            self._video.end()

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self.give_up()
        if self._video is not None:
            self._video.close()

    def _check_size(self, source: VideoSource) -> None:
        info = source.info
        if info.width * info.height > self.most_pixels:
            source.close()
            raise Forbidden(
                f"{info.url} has pictures of {info.width}x{info.height} pixels, above the limit of "
                f"{self.most_pixels:g}; give a smaller video"
            )

    @abstractmethod
    def _open(self) -> VideoSource: ...

    @abstractmethod
    def _let_go(self) -> None:
        """End what the thread that opens may be waiting for."""


class FileOpening(Opening):
    """A file of the server, and what it names, if that may be watched, too."""

    def __init__(self, file: LocalFile, find: Callable[[str], LocalFile], most_bytes: int | None) -> None:
        """find: the file of a name. Raises SourceError for what may not be opened."""
        super().__init__()
        self._file, self._find = file, find
        self._left_bytes = math.inf if most_bytes is None else most_bytes

    def _open(self) -> VideoSource:
        return open_source(self._file.path, opener=self._opened)

    def _opened(self, name: str) -> Opened:
        if "://" in name:
            raise Forbidden("a file of the server names an address; only files beside it are opened")
        path = self._find(name.removeprefix(_FILE_PREFIX)).path
        self._left_bytes -= path.stat().st_size
        if self._left_bytes < 0:
            raise Forbidden(f"{path.name} is larger than a request may be; take a shorter or smaller video")
        return Opened(path.open("rb", buffering=0), name)

    def _let_go(self) -> None:
        return  # a disk never keeps anybody waiting


class WebOpening(Opening):
    """A file or playlist of an HTTP server."""

    is_remote = True

    def __init__(self, url: str, web: Web, read_timeout_seconds: float) -> None:
        super().__init__()
        self._url, self._web, self._read_timeout_seconds = url, web, read_timeout_seconds

    def _open(self) -> VideoSource:
        return open_source(self._url, opener=self._web.open, read_timeout_seconds=self._read_timeout_seconds)

    def _let_go(self) -> None:
        self._web.close()


class CameraOpening(Opening):
    """An RTSP stream."""

    is_remote = True

    def __init__(self, url: str, networks: Networks, timeout_seconds: float, read_timeout_seconds: float) -> None:
        super().__init__()
        self._url, self._networks = url, networks
        self._timeout_seconds, self._read_timeout_seconds = timeout_seconds, read_timeout_seconds
        self._forwarder: RtspForwarder | None = None

    def _open(self) -> VideoSource:
        forwarder = self._forwarder = self._connected()
        if self._is_given_up:
            forwarder.close()
        try:
            return open_source(
                self._url,
                live=True,
                through=forwarder.address,
                open_timeout_seconds=self._timeout_seconds,
                read_timeout_seconds=self._read_timeout_seconds,
            )
        except SourceError as error:
            forwarder.close()
            if forwarder.failure:
                raise Forbidden(forwarder.failure) from error
            raise

    def _connected(self) -> RtspForwarder:
        try:
            return RtspForwarder(self._url, self._networks, self._timeout_seconds)
        except OSError as error:
            raise SourceError(f"cannot open {mask_secrets(self._url)}: {error}") from error

    def _let_go(self) -> None:
        if self._forwarder is not None:
            self._forwarder.close()


class WorldOpening(Opening):
    """The synthetic world, at the moment that the session has reached."""

    is_synchronous = True

    def __init__(self, seed: int, speed: float) -> None:
        super().__init__()
        self._seed, self._speed = seed, speed
        self._world: LiveWorld | None = None

    def _open(self) -> VideoSource:
        self._world = LiveWorld(self._seed, start_seconds=self._start_seconds, speed=self._speed)
        return self._world

    def _let_go(self) -> None:
        if self._world is not None:
            self._world.close()
