"""Files of HTTP servers, over connections that are checked: redirects, passwords, ranges."""

from __future__ import annotations

import io
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from hermes_stream.server.pull.networks import Forbidden, Networks
from hermes_stream.video.outside import Opened

TIMEOUT_SECONDS = 20.0
_UNQUOTED = "%/:?#[]@!$&'()*+,;=~"
_SCHEMES = ("http", "https")
_MIB = 2**20
# Reading on is cheaper than asking anew.
_SHORT_WAY_BYTES = 256 * 1024


class Web:
    """What one source, or one request, reads from HTTP servers. `close` may be called from any thread and ends it all.

    Every connection is checked when it is made, so redirects and segments are, too. Certificates must be good.
    timeout_seconds: how long a server may be silent.
    """

    def __init__(
        self, networks: Networks, *, most_bytes: int | None = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """most_bytes: of all that is read together."""
        self._networks, self.timeout_seconds = networks, timeout_seconds
        self._most_bytes, self._n_bytes = most_bytes, 0
        self._lock = threading.Lock()
        self._sockets: set[socket] = set()
        self._is_closed = False
        self._passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        self._director = self._make_director()

    def open(self, url: str) -> Opened:
        """The file at an address; an `Opener`. Raises Forbidden for what the rules forbid, OSError otherwise."""
        file = WebFile(self, url)
        self.count(0, expected=file.n_bytes)
        return Opened(file, file.url, file.n_bytes)

    def request(self, url: str, start: int) -> HTTPResponse:
        """The answer to a GET from a byte on. Raises as `open` does."""
        plain = self._without_password(url)
        headers = {"Range": f"bytes={start}-", "User-Agent": "hermes-stream", "Accept": "*/*"}
        request = urllib.request.Request(plain, headers=headers)
        try:
            response: HTTPResponse = self._director.open(request, timeout=self.timeout_seconds)
            return response
        except urllib.error.HTTPError as error:
            with error:
                raise ConnectionError(_told(error.code, error.reason)) from error
        except (urllib.error.URLError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
            is_late = isinstance(reason, TimeoutError)
            raise ConnectionError(f"no answer within {self.timeout_seconds:g} s" if is_late else str(reason)) from error
        except (HTTPException, ValueError) as error:
            raise ConnectionError(f"the server's answer cannot be used ({error})") from error

    def count(self, n_bytes: int, *, expected: int | None = None) -> None:
        """So many more were read, or will be. Raises Forbidden beyond the limit."""
        self._n_bytes += n_bytes
        most = self._most_bytes
        if most is not None and self._n_bytes + (expected or 0) > most:
            raise Forbidden(f"it has more than {most / _MIB:.4g} MiB, the limit; take a shorter or smaller video")

    def close(self) -> None:
        """End every connection; who reads one is at its end."""
        with self._lock:
            self._is_closed = True
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> socket:
        connection = self._networks.connect(host, port, self.timeout_seconds)
        if tls is not None:
            connection = tls.wrap_socket(connection, server_hostname=host)
        with self._lock:
            if self._is_closed:
                connection.close()
                raise ConnectionError("closed")
            # Those that are over are let go of.
            self._sockets = {each for each in self._sockets if each.fileno() != -1} | {connection}
        return connection

    def _without_password(self, url: str) -> str:
        """The address as HTTP has it; a user and password in it are kept for when they are asked for."""
        parts = urlsplit(quote(url, safe=_UNQUOTED))
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ConnectionError(f"{parts.scheme or 'a path'} is nothing that a server may be led to")
        user_info, at, place = parts.netloc.rpartition("@")
        plain = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
        if at:
            user, _, password = user_info.partition(":")
            self._passwords.add_password(None, plain, unquote(user), unquote(password))
        return plain

    def _make_director(self) -> urllib.request.OpenerDirector:
        """Only what is wanted: no proxies of the environment, no files, no FTP."""
        director, connect, tls = urllib.request.OpenerDirector(), self._connect, ssl.create_default_context()

        class Plain(HTTPConnection):
            response_class = _Response

            def connect(self) -> None:
                self.sock = connect(self.host, self.port, None)

        class Secure(HTTPSConnection):
            response_class = _Response

            def connect(self) -> None:
                self.sock = connect(self.host, self.port, tls)

        class Handler(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
            def http_open(self, request: urllib.request.Request) -> HTTPResponse:
                return self.do_open(Plain, request)

            def https_open(self, request: urllib.request.Request) -> HTTPResponse:
                return self.do_open(Secure, request)

        for handler in (
            Handler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPCookieProcessor(),
            _Basic(self._passwords),
            _Digest(self._passwords),
        ):
            director.add_handler(handler)
        return director


class _Response(HTTPResponse):
    """Lets go of its connection where no answer comes; the library's own leaves that to the garbage collector."""

    def begin(self) -> None:
        try:
            super().begin()
        except BaseException:
            self.close()
            raise


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """Leaves other kinds of passwords to others; the library's own raises."""

    def http_error_401(self, *answer: Any) -> HTTPResponse | None:
        with suppress(ValueError):
            return super().http_error_401(*answer)
        return None


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """As `_Basic`."""

    def http_error_401(self, *answer: Any) -> HTTPResponse | None:
        with suppress(ValueError):
            return super().http_error_401(*answer)
        return None


class WebFile:
    """One address as a binary file; another place in it is asked for when somebody reads there."""

    def __init__(self, web: Web, url: str) -> None:
        """Raises Forbidden, OSError."""
        self._web, self._asked_url = web, url
        self._response: Any = web.request(url, 0)
        self.url: str = self._response.url
        self._is_seekable, self.n_bytes = _range_of(self._response)
        self._place = self._response_place = 0
        self._failure: ConnectionError | None = None

    def read(self, n_bytes: int) -> bytes:
        """What has come, at most so much; nothing at the end. Raises Forbidden, OSError."""
        if self.n_bytes is not None and self._place >= self.n_bytes:
            return b""
        if self._place != self._response_place:
            self._go()
        data = self._read(n_bytes)
        self._place = self._response_place
        if not data and self.n_bytes is not None:
            raise ConnectionError(f"the connection ended at byte {self._place} of {self.n_bytes}")
        return data

    def seekable(self) -> bool:
        return self._is_seekable

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Nothing is asked for before the next `read`. Raises ValueError for a place that is none."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.n_bytes}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"no place {offset} from {whence}")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def close(self) -> None:
        self._response.close()

    def _go(self) -> None:
        """To the place where the next byte is wanted."""
        way = self._place - self._response_place
        while 0 < way <= _SHORT_WAY_BYTES and self._read(way):
            way = self._place - self._response_place
        if way == 0:
            return
        self._response.close()
        self._response = self._web.request(self._asked_url, self._place)
        if self._response.status != 206:
            raise ConnectionError("the server does not give parts of a file any more")
        self._response_place = self._place

    def _read(self, n_bytes: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            # What is there, not all that was asked for: pictures of a live stream must not wait for later ones.
            data: bytes = self._response.read1(n_bytes)
        except TimeoutError as error:
            self._failure = ConnectionError(f"nothing arrived for {self._web.timeout_seconds:g} s")
            raise self._failure from error
        except (HTTPException, OSError, ValueError) as error:  # ValueError: `close` of another thread came between
            self._failure = ConnectionError(f"the connection ended ({error})")
            raise self._failure from error
        self._web.count(len(data))
        self._response_place += len(data)
        return data


def _range_of(response: HTTPResponse) -> tuple[bool, int | None]:
    """Whether parts of a file may be asked for, and how many bytes it has."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return False, int(length) if length.isdecimal() else None
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return (True, int(total)) if total.isdecimal() else (False, None)


def _told(status: int, reason: str) -> str:
    hint = "put user:password@ before the host name" if status == 401 else "check the address"
    return f"the server answers {status} {reason}; {hint}"
