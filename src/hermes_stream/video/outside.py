"""FFmpeg with its doors shut: every address that it would open is opened by somebody who knows what is allowed.

A playlist names further addresses, those name others, and FFmpeg's own list of allowed protocols does not tell a proxy
that it was given from one that a playlist names (`httpproxy://`, FFmpeg 8.1). So it gets no protocol at all, and all it
reads comes through here.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urljoin

from hermes_stream.errors import SourceError

_PLAYLIST_HEAD = b"#EXTM3U"
_MOST_PLAYLIST_BYTES = 4 * 2**20
_ValueT = TypeVar("_ValueT")
_NAMED = re.compile(rb'(URI=")([^"]*)(")')
# No protocol; and none of the connections that the HLS reader would keep, which only FFmpeg's own can be.
_SHUT = {"protocol_whitelist": "none", "http_persistent": "0", "http_multiple": "0"}


class Readable(Protocol):
    """A binary file as Python has them. `read` may give less than was asked for, and nothing only at the end."""

    def read(self, n_bytes: int, /) -> bytes: ...

    def seekable(self) -> bool: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What stands at an address. n_bytes: its size, None if nobody knows. url: where it was in the end."""

    file: Readable
    url: str
    n_bytes: int | None = None


Opener = Callable[[str], Opened]
"""Opens an address, of the source or one that a playlist names.

Raises SourceError for one that is not allowed, which ends the source; OSError for one that cannot be had.
"""


class Outside:
    """All that FFmpeg reads of one source. `failure` says why the last thing that it asked for could not be had.

    Errors do not travel through FFmpeg: what cannot be read has ended, and FFmpeg goes on without it, as behind a lost
    segment of a playlist. After something that is not allowed everything has ended.
    """

    def __init__(self, opener: Opener, url: str, open_timeout_seconds: float) -> None:
        """Opens the source itself. Raises what the opener raises."""
        self.failure = ""
        self._opener = opener
        self._is_over = False
        self._files: list[_Guarded] = []
        self._until = time.monotonic() + open_timeout_seconds
        self._timeout_seconds = open_timeout_seconds
        opened = opener(url)
        self.n_bytes = opened.n_bytes
        self._main: _Guarded | None = self._admit(url, opened)
        self._main_url = url
        self.is_playlist = self._main.is_playlist

    @property
    def options(self) -> dict[str, str]:
        """What FFmpeg must be told."""
        return dict(_SHUT)

    def open(self, url: str, _flags: int, _options: dict[str, str]) -> _Guarded:
        """PyAV's `io_open`."""
        main, self._main = self._main, None
        if main is not None and url == self._main_url:
            return main
        opened = self._attempt(lambda: self._open(url))
        return self._admit(url, Opened(io.BytesIO(), url) if opened is None else opened)

    def has_opened(self) -> None:
        """From now on a slow source may take its time."""
        self._until = float("inf")

    def read(self, file: Readable, n_bytes: int) -> bytes:
        """Bytes of a file; none where they cannot be had."""
        return self._attempt(lambda: self._read(file, n_bytes)) or b""

    def close(self) -> None:
        """Close every file, since FFmpeg leaves the first one open. Only from the thread that reads."""
        self._is_over = True
        while self._files:
            self._files.pop().close()

    def _open(self, url: str) -> Opened:
        if url.startswith("crypto"):
            raise OSError("its segments are encrypted, and FFmpeg may not decrypt them here")
        opened = self._opener(url)
        self.failure = ""
        return opened

    def _read(self, file: Readable, n_bytes: int) -> bytes:
        if time.monotonic() > self._until:
            self._is_over = True
            raise TimeoutError(f"no picture within {self._timeout_seconds:g} s")
        return file.read(n_bytes)

    def _attempt(self, act: Callable[[], _ValueT]) -> _ValueT | None:
        if self._is_over:
            return None
        try:
            return act()
        except SourceError as error:
            self.failure, self._is_over = str(error), True
        except OSError as error:
            self.failure = str(error)
        return None

    def _admit(self, url: str, opened: Opened) -> _Guarded:
        file = _Guarded(opened, self.read)
        if file.is_playlist and opened.url != url:
            file.rebase(opened.url)
        # Files that FFmpeg has closed are let go of.
        self._files = [known for known in self._files if not known.is_closed] + [file]
        return file


class _Guarded:
    """One file as FFmpeg sees it: `read` never raises. Playlists are read as a whole."""

    def __init__(self, opened: Opened, read: Callable[[Readable, int], bytes]) -> None:
        self.is_closed = False
        self._file, self._read = opened.file, read
        # What was read already, to see what it is.
        self._head = self._read_up_to(len(_PLAYLIST_HEAD))
        self.is_playlist = self._head == _PLAYLIST_HEAD
        if self.is_playlist:
            self._become(self._head + self._read_up_to(_MOST_PLAYLIST_BYTES))

    def rebase(self, url: str) -> None:
        """What a playlist names, it names from where it stands, not from where it was asked for."""
        data = self._read_up_to(_MOST_PLAYLIST_BYTES)
        self._become(b"\n".join(_absolute(line, url) for line in data.splitlines()) + b"\n")

    def read(self, n_bytes: int) -> bytes:
        if not self._head:
            return self._read(self._file, n_bytes)
        data, self._head = self._head[:n_bytes], self._head[n_bytes:]
        return data

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position; -1 where there is none."""
        try:
            position = self._file.seek(offset - len(self._head) * (whence == io.SEEK_CUR), whence)
        except (OSError, ValueError):
            return -1
        self._head = b""
        return position

    def tell(self) -> int:
        return self._file.tell() - len(self._head)

    def close(self) -> None:
        self.is_closed = True
        self._file.close()

    def _read_up_to(self, n_bytes: int) -> bytes:
        data = b""
        while len(data) < n_bytes and (more := self._read(self._file, n_bytes - len(data))):
            data += more
        return data

    def _become(self, data: bytes) -> None:
        self._file.close()
        self._file, self._head = io.BytesIO(data), b""


def _absolute(line: bytes, base: str) -> bytes:
    """A line of a playlist with its addresses in full."""
    if line.startswith(b"#"):
        return _NAMED.sub(lambda found: found[1] + _joined(base, found[2]) + found[3], line)
    return _joined(base, line.strip()) if line.strip() else line


def _joined(base: str, name: bytes) -> bytes:
    return urljoin(base, name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
