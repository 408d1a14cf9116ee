"""What the server pulls in tests: films, and live streams that break off."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from hermes_stream.server.live_session import LiveSession

from ..video.clips import write_raw
from .web_servers import Handler, WebServer

N_SECONDS = 8
HERE = {"allow_networks": ("127.0.0.1/32",)}


def make_films(folder: Path) -> Path:
    """a.mp4: 8 s of numbered pictures, 25 a second; a.ts: two seconds, for live streams."""
    write_raw(folder / "a.mp4", "libx264", 25 * N_SECONDS, container_options={"movflags": "faststart"})
    write_raw(folder / "a.ts", "libx264", 25 * 2, options={"g": "10"})
    return folder


def times_of(live: LiveSession) -> list[float]:
    return live.thumbnails.times


class Camera:
    """A live stream at /live: each connection gets the next part, then nothing more until it is cut."""

    def __init__(self, server: WebServer, *parts: bytes) -> None:
        self.url = server.address + "/live"
        self.n_connections = 0
        self.parts: Sequence[bytes] = parts
        self._cut = threading.Event()
        server.answers["/live"] = self._answer

    def cut(self) -> None:
        """The connection of now ends."""
        self._cut.set()

    def _answer(self, handler: Handler) -> None:
        if self.n_connections >= len(self.parts):
            handler.send_error(503)
            return
        part = self.parts[self.n_connections]
        self.n_connections += 1
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(part)
        self._cut.wait(20)
        self._cut.clear()
