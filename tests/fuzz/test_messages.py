"""Changed messages of clients that push: whoever sends them is told; nobody else notices, and nothing grows."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ..server.conftest import RunningServer
from ..server.pushing import jpeg_of
from .conftest import Tries, a_fed_session
from .mutations import mutated

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]
_PICTURES = [jpeg_of(np.full((54, 96, 3), 128, np.uint8), kind) for kind in ("JPEG", "PNG", "WEBP")]
_PATH = "/v1/video/chat/stream"
_SAID = (
    {
        "type": "session.config",
        "fps": 2,
        "memory": "hermes",
        "budget": "64",
        "format": "raw",
        "width": 96,
        "height": 54,
    },
    {"type": "session.config", "session_id": "0123456789abcdef", "resume": True},
    {"type": "video.query", "text": "What is it?", "id": "q", "options": ["a", "b"], "as_of_s": 3.0},
    {"type": "video.frame", "data": "data:image/jpeg;base64,/9j/4AAQ", "time_s": 3.5},
    {"type": "query.cancel", "id": "q"},
    {"type": "subscribe"},
    {"type": "audio.chunk", "data": "AAAA"},
    {"type": "video.done"},
)
_MOST_GROWTH_BYTES = 400 * 2**20


def message(dice: random.Random) -> bytes | str:
    """A picture with its time, or something said; changed most of the time."""
    if dice.random() < 0.5:
        data = struct.pack(">d", dice.uniform(0, 60)) + dice.choice(_PICTURES)
        return mutated(data, dice) if dice.random() < 0.8 else data
    text = json.dumps(dice.choice(_SAID))
    return mutated(text.encode(), dice).decode(errors="replace") if dice.random() < 0.8 else text


def test_messages(server: RunningServer, tries: Tries, resident_bytes: Callable[[], int]) -> None:
    with a_fed_session(server) as bystander:
        before, held = _state(server, bystander), 0
        for dice in tries:
            _talk(server, dice, tries)
            if tries.count["cases"] == 20:
                held = resident_bytes()
        assert server.process.poll() is None
        assert _state(server, bystander) == before
        assert resident_bytes() < held + _MOST_GROWTH_BYTES
        assert [each["id"] for each in server.http.get("/v1/sessions").json()["data"]] == [bystander]
        assert not [row for row in server.rows if "Traceback" in json.dumps(row)]


def _talk(server: RunningServer, dice: random.Random, tries: Tries) -> None:
    """One connection and what it says, until it has said all or is closed."""
    with suppress(ConnectionClosed), connect(server.websocket_address + _PATH, max_size=None) as socket:
        for _ in range(dice.randint(1, 12)):
            socket.send(message(dice))
            tries.count["messages"] += 1
        socket.send(json.dumps({"type": "video.query", "text": "Is anything there?", "id": "last"}))
        while True:
            event = json.loads(socket.recv(timeout=60))
            tries.count[event["type"]] += 1
            if event.get("id") == "last" and event["type"] in ("response.text.done", "error"):
                return


def _state(server: RunningServer, session: str) -> list[object]:
    told = server.http.get(f"/v1/sessions/{session}").json()
    answer = server.http.post(f"/v1/sessions/{session}/ask", json={"question": "What object is visible now?"}).json()
    return [told["frames_seen"], told["held_tokens"], told["gaps"], answer["answer"]]
