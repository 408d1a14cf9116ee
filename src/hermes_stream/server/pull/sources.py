"""What sessions and requests may see: every source of a server is opened here, under its rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from hermes_stream.errors import ConfigError, SourceError
from hermes_stream.server.pull.http_source import TIMEOUT_SECONDS, Web
from hermes_stream.server.pull.networks import Networks, Resolve
from hermes_stream.server.pull.opening import CameraOpening, FileOpening, Opening, WebOpening, WorldOpening
from hermes_stream.server.pull.source_rules import Address, LocalFile, Named, World, local_file, read_source
from hermes_stream.server.settings import ServerSettings
from hermes_stream.video import Video
from hermes_stream.video.location import mask_secrets
from hermes_stream.video.pyav_source import READ_TIMEOUT_SECONDS

_READ_BYTES = 64 * 1024


def _to_nobody(_: Opening) -> None:
    return


class Sources:
    """Checks and opens; safe to use from several threads. Everything here may block: call it from a thread.

    Raises Forbidden, a SourceError, for what the rules forbid, with one line that says so.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        resolve: Resolve | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        """resolve: of host names; by default the machine's. timeout_seconds: for a server to answer, and for the first
        picture. read_timeout_seconds: how long a stream may be silent.
        """
        self.networks = Networks(settings.allow_networks, resolve)
        self._folders: tuple[Path, ...] = settings.allow_local_files
        self._most_pixels = settings.limits.max_frame_pixels
        self._timeout_seconds, self._read_timeout_seconds = timeout_seconds, read_timeout_seconds

    def check(self, source: str, *, speed: float = 1.0) -> None:
        """Raise SourceError for what could never be watched: a name, file or host that is not allowed, a missing file.

        A host that cannot be found may be there later.
        """
        named = self._named(source)
        if isinstance(named, World) and speed == 0:
            raise ConfigError(f"{source} has no end, so it cannot go as fast as it can; give a speed above 0")
        if isinstance(named, Address):
            with suppress(OSError):
                self.networks.addresses(named.host, named.port)

    def prepare(self, source: str, *, speed: float = 1.0, most_bytes: int | None = None) -> Opening:
        """A source to be opened, by one thread; close it. most_bytes: of all that is read from files and HTTP.

        Raises SourceError for a name or file that is not allowed, or missing; hosts are judged as it is opened.
        """
        opening = self._prepare(self._named(source), speed, most_bytes)
        opening.most_pixels = self._most_pixels
        return opening

    @contextmanager
    def open(
        self, source: str, *, fps: float, most_bytes: int, on_opening: Callable[[Opening], None] = _to_nobody
    ) -> Iterator[Video]:
        """A video with an end, for one request: its frames, so many a second.

        on_opening: told what to close, from any thread, where the request is given up.
        Raises SourceError, also on the way out, where a video broke off or was larger: it was not seen as a whole.
        """
        with closing(self.prepare(source, most_bytes=most_bytes)) as opening:
            on_opening(opening)
            video = opening.open(fps=fps)
            if video.info.is_live:
                raise SourceError(f"{mask_secrets(source)} has no end; open a session with it as its source")
            yield video
            if video.damage.broke_off:
                raise SourceError(f"{mask_secrets(source)}: {video.damage.end_reason}")

    def read(self, url: str, *, most_bytes: int) -> bytes:
        """A whole file of an HTTP server, a picture say.

        Raises SourceError if it cannot be had in time, or is larger.
        """
        named = self._named(url)
        if not isinstance(named, Address) or named.is_camera:
            raise SourceError(f"{mask_secrets(url)!r} is no http:// or https:// address")
        until, data = time.monotonic() + self._timeout_seconds, bytearray()
        with closing(self._web(most_bytes)) as web:
            try:
                with closing(web.open(url).file) as file:
                    while more := file.read(_READ_BYTES):
                        data += more
                        if time.monotonic() > until:
                            raise TimeoutError(f"it took longer than {self._timeout_seconds:g} s")
            except OSError as error:
                raise SourceError(f"cannot read {mask_secrets(url)}: {error}") from error
        return bytes(data)

    def _prepare(self, named: Named, speed: float, most_bytes: int | None) -> Opening:
        if isinstance(named, LocalFile):
            return FileOpening(named, self._file, most_bytes)
        if isinstance(named, World):
            return WorldOpening(named.seed, speed)
        if named.is_camera:
            return CameraOpening(named.url, self.networks, self._timeout_seconds, self._read_timeout_seconds)
        return WebOpening(named.url, self._web(most_bytes), self._read_timeout_seconds)

    def _named(self, source: str) -> Named:
        return read_source(source, self._folders)

    def _file(self, name: str) -> LocalFile:
        return local_file(name, self._folders)

    def _web(self, most_bytes: int | None) -> Web:
        return Web(self.networks, most_bytes=most_bytes, timeout_seconds=self._timeout_seconds)
