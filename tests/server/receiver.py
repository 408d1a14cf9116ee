"""A real receiver of webhooks, on this machine."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 30.0
_DOCS = Path(__file__).parents[2] / "docs" / "server.md"


def documented_check() -> Callable[..., bool]:
    """The function that docs/server.md gives to receivers."""
    blocks = re.findall(r"```python\n(.*?)```", _DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "def is_from_hermes" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    check: Callable[..., bool] = names["is_from_hermes"]
    return check


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes
    at_seconds: float


@dataclass
class Receiver:
    """What came, in its order. statuses: answers to the first requests; later ones get 200."""

    address: str
    statuses: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> int:
        with self.changed:
            self.received.append(request)
            self.changed.notify_all()
            return self.statuses.pop(0) if self.statuses else 200

    def wait_for(self, n: int) -> list[Received]:
        """So many requests; fails if they do not come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= n, _PATIENCE_SECONDS), self.received
            return list(self.received)


@contextmanager
def receiver(*statuses: int, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Answers until the block is left; 3xx lead to another path of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = found.take(Received(self.path, headers, body, time.monotonic()))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{found.address}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found = Receiver(f"http://127.0.0.1:{server.server_port}", list(statuses))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def dripping(pieces: Sequence[bytes], pause_seconds: float) -> Iterator[str]:
    """A receiver that says its answer piece by piece, for ever; yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                try:
                    while not is_over.is_set():
                        for piece in pieces:
                            connection.sendall(piece)
                            is_over.wait(pause_seconds)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        is_over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
