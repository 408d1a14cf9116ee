"""A client that pushes, written with the `websockets` library: what tests need of it and nothing else."""

from __future__ import annotations

import io
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hermes_stream.shapestream import Script, render_frame

from .conftest import RunningServer

PATIENCE_SECONDS = 60.0


def jpeg_of(image_YXC: NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    Image.fromarray(image_YXC).save(file, kind, quality=90)
    return file.getvalue()


def episode_jpeg(script: Script, time_seconds: float) -> bytes:
    """What a camera would send of an episode at a moment."""
    return jpeg_of(render_frame(script, time_seconds, 192, 108))


class Pusher:
    """One connection. What comes while something else is waited for is kept in `events`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._n_taken = 0

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def push(self, time_seconds: float, picture: bytes) -> None:
        self.socket.send(struct.pack(">d", time_seconds) + picture)

    def hear(self, *kinds: str, **fields: Any) -> dict[str, Any]:
        """The next event of one of these kinds and with these fields."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            event = json.loads(self.socket.recv(timeout=max(deadline - time.monotonic(), 0.001)))
            self.events.append(event)
            if event["type"] in kinds and fields.items() <= event.items():
                return event

    def ask(self, text: str, **fields: Any) -> dict[str, Any]:
        """The answer to a question, or the error."""
        self.say("video.query", text=text, **fields)
        return self.hear("response.text.done", "error")

    def closed(self) -> tuple[int | None, str]:
        """Code and reason with which the server closes the connection; what comes before is kept."""
        try:
            while True:
                self.events.append(json.loads(self.socket.recv(timeout=PATIENCE_SECONDS)))
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind so far."""
        return [event for event in self.events if event["type"] == kind]


@contextmanager
def pushing(server: RunningServer, session: str | None, **options: Any) -> Iterator[Pusher]:
    """Connected to a session, or to vLLM-Omni's address."""
    path = "/v1/video/chat/stream" if session is None else f"/v1/sessions/{session}/stream"
    with connect(server.websocket_address + path, **options) as socket:
        yield Pusher(socket)


def state_of(server: RunningServer, session: str) -> dict[str, Any]:
    state: dict[str, Any] = server.http.get(f"/v1/sessions/{session}").json()
    return state


def wait_until(server: RunningServer, session: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The session, once something holds of it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so(state := state_of(server, session)):
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


def wait_for_frames(server: RunningServer, session: str, n_frames: int) -> dict[str, Any]:
    """The session, once it has seen so many frames."""
    return wait_until(server, session, lambda state: state["frames_seen"] >= n_frames)


def wait_until_gone(server: RunningServer, session: str) -> None:
    """Return once there is no such session."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.http.get(f"/v1/sessions/{session}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)
