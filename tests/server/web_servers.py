"""HTTP servers on this machine, as sources that tests can steer."""

from __future__ import annotations

import base64
import hashlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the files of a folder, with ranges, and answers of a test's own for single paths."""

    folder: Path
    answers: dict[str, Answer]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        with suppress(OSError):
            answer = self.answers.get(self.path)
            if answer is not None:
                answer(self)
            else:
                self.give(self.folder / self.path.lstrip("/"))

    def give(self, path: Path) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])

    def say(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def redirect(self, to: str) -> None:
        self.send_response(302)
        self.send_header("Location", to)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


class WebServer:
    """address: as in http://127.0.0.1:1234. asked: the paths so far. answers: of single paths, instead of files."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        more = {"folder": folder, "answers": self.answers, "asked": self.asked}
        self._server = http.server.ThreadingHTTPServer((host, 0), type("Handler", (Handler,), more))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"http{'s' if tls else ''}://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def web_server(folder: Path, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """A server until the block is left."""
    server = WebServer(folder, host, tls)
    try:
        yield server
    finally:
        server.close()


def guarded(answer: Answer, user: str, password: str, *, is_digest: bool) -> Answer:
    """The same for whoever knows a password, asked for as RFC 7617 and RFC 7616 say."""
    realm, nonce = "camera", "5f3e"

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    def is_right(handler: Handler) -> bool:
        kind, _, said = handler.headers.get("Authorization", "").partition(" ")
        if not is_digest:
            return kind == "Basic" and base64.b64decode(said).decode() == f"{user}:{password}"
        fields = dict(part.strip().split("=", 1) for part in said.split(",") if "=" in part)
        fields = {name: value.strip('"') for name, value in fields.items()}
        a1, a2 = md5(f"{user}:{realm}:{password}"), md5(f"GET:{handler.path}")
        middle = f"{fields.get('nc', '')}:{fields.get('cnonce', '')}:{fields.get('qop', '')}"
        return kind == "Digest" and fields.get("response") == md5(f"{a1}:{nonce}:{middle}:{a2}")

    def act(handler: Handler) -> None:
        if is_right(handler):
            answer(handler)
            return
        handler.send_response(401)
        challenge = f'Digest realm="{realm}", nonce="{nonce}", qop="auth"' if is_digest else f'Basic realm="{realm}"'
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return act
