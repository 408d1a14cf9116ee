"""One request to a webhook: where its address leads, what it is signed with, and what the receiver says."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from socket import socket
from urllib.parse import quote, urlsplit

from hermes_stream.server.problems import ApiError

SIGNATURE_HEADER = "x-hermes-signature"
_PORTS = {"http": 80, "https": 443}
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_FIRST_FINAL_STATUS = 200
_UNQUOTED = "%/:?#[]@!$&'()*+,;=~"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook is. path: with its query; it may hold a secret."""

    is_secure: bool
    host: str
    port: int
    path: str

    @property
    def place(self) -> str:
        """Host and port, as the header `Host` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self._scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The address for people, without what may be secret."""
        return f"{self._scheme}://{self.place}{'' if self.path == '/' else '/…'}"

    @property
    def _scheme(self) -> str:
        return "https" if self.is_secure else "http"


def read_endpoint(url: str) -> Endpoint:
    """What a webhook's address means. Raises ApiError, which does not repeat it."""
    try:
        # Only what can stand in a request line comes through.
        parts = urlsplit(quote(url, safe=_UNQUOTED))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _bad(f"is no address ({error})") from error
    if parts.scheme not in _PORTS or not host:
        raise _bad("is no address that can be posted to")
    if "@" in parts.netloc:
        raise _bad("holds a password, which is not sent; give a secret, with which deliveries are signed")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(parts.scheme == "https", host, port or _PORTS[parts.scheme], path)


def signature(secret: str, body: bytes, time_seconds: int) -> str:
    """What `x-hermes-signature` says: the moment of sending, and HMAC-SHA256 over it, a full stop and the body."""
    signed = hmac.new(secret.encode(), f"{time_seconds}.".encode() + body, hashlib.sha256)
    return f"t={time_seconds},v1={signed.hexdigest()}"


async def post(
    connection: socket, tls: ssl.SSLContext, endpoint: Endpoint, headers: Mapping[str, str], body: bytes
) -> int:
    """POST once over a connection that was made, follow nothing, and return the status; the connection is closed.

    Raises OSError where no answer comes, or no certificate of this host.
    """
    connection.setblocking(False)
    security, name = (tls, endpoint.host) if endpoint.is_secure else (None, None)
    reader, writer = await asyncio.open_connection(sock=connection, ssl=security, server_hostname=name)
    try:
        fields = {"host": endpoint.place, **headers, "content-length": str(len(body)), "connection": "close"}
        lines = [f"POST {endpoint.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        writer.write("\r\n".join(lines).encode("ascii") + body)
        while (status := await _read_status(reader)) < _FIRST_FINAL_STATUS:
            pass
        return status
    finally:
        # What else it says is of no interest, and TLS' way to part could be waited for.
        writer.transport.abort()


async def _read_status(reader: asyncio.StreamReader) -> int:
    """Of the next answer; of those that are not final, the whole head is read."""
    try:
        match = _STATUS_LINE.match(await reader.readline())
        if match is None:
            raise ConnectionError("its answer is not HTTP")
        status = int(match[1])
        while status < _FIRST_FINAL_STATUS and (await reader.readline()).strip():
            pass
    except ValueError as error:  # a line without end
        raise ConnectionError("its answer is not HTTP") from error
    return status


def _bad(reason: str) -> ApiError:
    return ApiError(400, "invalid_webhook", f"the webhook's url {reason}; write it as https://host/path")
