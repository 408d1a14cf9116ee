"""RTSP through this process: FFmpeg speaks to a port of this machine, which forwards to the address that was checked.

FFmpeg follows redirects to wherever a camera says, so none reaches it. With TLS outside, it speaks plainly inside: else
nobody could see what a camera answers.
"""

from __future__ import annotations

import re
import selectors
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from hermes_stream.server.pull.networks import Forbidden, Networks

_PORTS = {"rtsp": 554, "rtsps": 322}
_HERE = "127.0.0.1"
_READ_BYTES = 64 * 1024
_MOST_HEADER_BYTES = 16 * 1024
_MOST_BODY_BYTES = 2**20
_MOST_LENGTH_DIGITS = 16
_INTERLEAVED = ord("$")
_INTERLEAVED_HEADER_BYTES = 4
_END_OF_HEADER = re.compile(rb"\n\r*\n")
_STATUS_LINE = re.compile(rb"RTSP/\d\.\d (\d{3})(?: |$)")
_PACKET_IN_HEADER = re.compile(rb"\n\r*\$")
_NOT_PROPER = "the camera does not answer in proper RTSP; check the address"
_LENGTH = re.compile(rb"content-length:(.*)", re.IGNORECASE)


class AnswerWatch:
    """Reads what a camera answers as FFmpeg does, until pictures come, and lets no redirect by.

    Stricter than FFmpeg: where the two could read different things, the answer is refused.
    """

    def __init__(self) -> None:
        self._waiting = b""
        self._is_over = False

    def asked(self, data: bytes) -> None:
        """What FFmpeg says. Once it asks for pictures, it follows no redirects any more."""
        self._is_over = self._is_over or data.startswith(b"PLAY ")

    def answered(self, data: bytes) -> None:
        """What the camera says. Raises Forbidden for a redirect, and for what is no answer in RTSP."""
        if self._is_over:
            return
        self._waiting += data
        while (n_bytes := self._next_message()) is not None:
            self._waiting = self._waiting[n_bytes:]

    def _next_message(self) -> int | None:
        """Length of the first whole message, None if there is none yet."""
        data = self._waiting
        if not data:
            return None
        if data[0] == _INTERLEAVED:
            n_bytes = _INTERLEAVED_HEADER_BYTES + int.from_bytes(data[2:4], "big")
            return n_bytes if _INTERLEAVED_HEADER_BYTES <= len(data) >= n_bytes else None
        end = _END_OF_HEADER.search(data)
        header = data if end is None else data[: end.start()]
        if len(header) > _MOST_HEADER_BYTES:
            raise Forbidden("the camera's answer is too long to be RTSP; check the address")
        # Where FFmpeg sees packets, or the end of a line, it may see the end of the header as well.
        if b"\0" in header or _PACKET_IN_HEADER.search(header):
            raise Forbidden(_NOT_PROPER)
        if end is None:
            return None
        n_bytes = end.end() + _body_bytes(header)
        return n_bytes if len(data) >= n_bytes else None


def _body_bytes(header: bytes) -> int:
    """How much follows a header. Raises Forbidden for a redirect, and for a header that could be read in two ways."""
    first, *lines = header.replace(b"\r", b"").split(b"\n")
    status = _STATUS_LINE.match(first)
    lengths = [found[1] for line in lines if (found := _LENGTH.match(line))]
    length = lengths[0] if lengths else b"0"
    is_clear = len(lengths) <= 1 and len(length) <= _MOST_LENGTH_DIGITS and length.strip().isdigit()
    if status is None or not is_clear or int(length) > _MOST_BODY_BYTES:
        raise Forbidden(_NOT_PROPER)
    if status[1].startswith(b"3"):
        raise Forbidden("the camera sends its clients to another address, which no server follows; give that one")
    return int(length)


class RtspForwarder:
    """One connection of FFmpeg's to one camera, forwarded by a thread until one of them ends it, or `close`.

    address: what FFmpeg opens instead. failure: why it ended, if it was not in order.
    """

    def __init__(self, url: str, networks: Networks, timeout_seconds: float) -> None:
        """Connects. Raises Forbidden, OSError."""
        parts = urlsplit(url)
        user_info, at, _ = parts.netloc.rpartition("@")
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self.failure = ""
        self._far = networks.connect(host, port, timeout_seconds)
        try:
            if parts.scheme == "rtsps":
                self._far = ssl.create_default_context().wrap_socket(self._far, server_hostname=host)
            self._listener = socket.create_server((_HERE, 0), backlog=1)
        except BaseException:
            self._far.close()
            raise
        self._listener.settimeout(timeout_seconds)
        place = f"{user_info}{at}{_HERE}:{self._listener.getsockname()[1]}"
        self.address = parts._replace(scheme="rtsp", netloc=place).geturl()
        self._near: socket.socket | None = None
        threading.Thread(target=self._run, name="hermes-rtsp", daemon=True).start()

    def close(self) -> None:
        """End both connections; from any thread, may be called twice."""
        for each in (self._listener, self._near, self._far):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            with self._listener, self._far:
                self._near, _ = self._listener.accept()
                self._listener.close()
                with self._near:
                    self._near.settimeout(self._far.gettimeout())
                    try:
                        _forward(self._near, self._far)
                    # Before the connection ends: whoever sees that asks why.
                    except Forbidden as error:
                        self.failure = str(error)
        except OSError:
            return  # FFmpeg has seen its connection end, and says so


def _forward(near: socket.socket, far: socket.socket) -> None:
    """Until one side ends. Raises Forbidden."""
    watch = AnswerWatch()
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ)
        selector.register(far, selectors.EVENT_READ)
        while True:
            for readable in _readable(selector, near, far):
                data = _received(readable)
                if data is None:
                    continue
                if not data:
                    return
                if readable is near:
                    watch.asked(data)
                    far.sendall(data)
                else:
                    watch.answered(data)
                    near.sendall(data)


def _received(connection: socket.socket) -> bytes | None:
    """What has come; nothing at the end, None where only TLS had something to say to itself."""
    timeout_seconds = connection.gettimeout()
    connection.setblocking(False)
    try:
        return connection.recv(_READ_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    finally:
        connection.settimeout(timeout_seconds)


def _readable(selector: selectors.BaseSelector, near: socket.socket, far: socket.socket) -> list[socket.socket]:
    """Whichever has something to say; waits for it."""
    # What TLS has decrypted already is nothing that a selector knows of.
    if isinstance(far, ssl.SSLSocket) and far.pending():
        return [far]
    ready = {key.fileobj for key, _ in selector.select()}
    return [each for each in (near, far) if each in ready]
