"""What a push connection does to the server's own objects, with the server in this process."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from hermes_stream import Engine
from hermes_stream.errors import LimitError
from hermes_stream.server.app import make_app
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.push import push_feed
from hermes_stream.server.settings import ServerSettings

from .pushing import PATIENCE_SECONDS, jpeg_of

# A server without keys answers to no other name.
HOST = "127.0.0.1"
GREY = jpeg_of(np.full((54, 96, 3), 128, np.uint8))
# As long as the random model's positions reach; it never stops by itself.
LONG = {"text": "What is there?", "max_new_tokens": 4096}


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(make_app(ServerSettings(), {"random-llava": engine}), f"http://{HOST}") as client:
        wait_for(lambda: client.get("/ready").status_code == 200)
        yield client


@pytest.fixture
def live(client: TestClient) -> LiveSession:
    client.post("/v1/sessions", json={"memory": "sliding-window", "budget": 90})
    [live] = client.app.state.server.hub.sessions()  # type: ignore[attr-defined]
    assert isinstance(live, LiveSession)
    return live


def connected(client: TestClient, live: LiveSession) -> WebSocketTestSession:
    return client.websocket_connect(f"ws://{HOST}/v1/sessions/{live.name}/stream")


def hear(socket: WebSocketTestSession, kind: str) -> dict[str, Any]:
    """The next event of a kind."""
    while True:
        event: dict[str, Any] = socket.receive_json()
        if event["type"] == kind:
            return event


def push(socket: WebSocketTestSession, seconds: float) -> None:
    socket.send_bytes(struct.pack(">d", seconds) + GREY)


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_session_that_the_server_pulls_takes_no_frames(client: TestClient, live: LiveSession) -> None:
    live.begin_feed("pull")
    with connected(client, live) as socket:
        push(socket, 0)
        assert "the server pulls it" in hear(socket, "error")["message"]
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 4409
    assert live.feed == "pull"
    live.end_feed("gap", "")


def test_a_question_that_is_cancelled_is_not_answered_any_more(
    client: TestClient, live: LiveSession, engine: Engine
) -> None:
    with connected(client, live) as socket:
        socket.send_json({"type": "video.query", "id": "long", **LONG})
        hear(socket, "response.start")
        socket.send_json({"type": "query.cancel", "id": "long"})
        error = hear(socket, "error")
        assert (error["code"], error["id"]) == ("cancelled", "long")
        wait_for(lambda: engine.stats.n_answers == 0)
        # Its name is free again, and it is not known any more.
        socket.send_json({"type": "query.cancel", "id": "long"})
        assert hear(socket, "error")["code"] == "not_found"


def test_the_name_of_a_cancelled_question_may_be_given_again(client: TestClient, live: LiveSession) -> None:
    with connected(client, live) as socket:
        for _ in range(3):
            socket.send_json({"type": "video.query", "id": "a", **LONG})
            hear(socket, "response.start")
            socket.send_json({"type": "query.cancel", "id": "a"})
            assert hear(socket, "error")["code"] == "cancelled"


def test_when_a_client_leaves_nothing_of_it_goes_on(client: TestClient, live: LiveSession, engine: Engine) -> None:
    with connected(client, live) as socket:
        push(socket, 0)
        for _ in range(3):
            socket.send_json({"type": "video.query", **LONG})
        for _ in range(3):
            hear(socket, "response.start")
        assert live.feed == "push"
    wait_for(lambda: engine.stats.n_answers == 0)
    wait_for(lambda: live.feed is None)
    assert not live.bus.has_listeners


def test_two_questions_of_one_name_are_one_too_many(client: TestClient, live: LiveSession) -> None:
    with connected(client, live) as socket:
        for _ in range(2):
            socket.send_json({"type": "video.query", "id": "a", **LONG})
        error = hear(socket, "error")
        assert error["id"] == "a"
        assert "give each one its own id" in error["message"]


def test_more_questions_than_may_be_open_are_refused(client: TestClient, live: LiveSession, engine: Engine) -> None:
    most = ServerSettings().limits.max_open_questions
    with connected(client, live) as socket:
        for _ in range(most + 1):
            socket.send_json({"type": "video.query", **LONG})
        assert f"{most} questions are open" in hear(socket, "error")["message"]
    wait_for(lambda: engine.stats.n_answers == 0)


def test_while_a_client_that_pushes_sends_nothing_the_session_has_a_gap(
    client: TestClient, live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_feed, "_SILENT_SECONDS", 0.1)
    with connected(client, live) as socket:
        push(socket, 0)
        wait_for(lambda: live.reason == "the client sends no frames")
        assert (live.state, live.feed) == ("gap", "push")
        push(socket, 300)
        wait_for(lambda: live.to_json()["gaps"])
        assert live.to_json()["gaps"] == [{"start_s": 0.0, "end_s": 300.0, "reason": "the client sent no frames"}]
    wait_for(lambda: live.feed is None)


def test_what_went_wrong_with_a_frame_of_before_is_told_and_costs_no_other(
    client: TestClient, live: LiveSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine tells of it when the next frame is offered, and takes that one only if it is offered again."""
    take, failures = LiveSession.take, [LimitError("there is no memory left for a frame")]

    def take_or_fail(self: LiveSession, frames: Any) -> int:
        if failures:
            raise failures.pop()
        return take(self, frames)

    monkeypatch.setattr(LiveSession, "take", take_or_fail)
    with connected(client, live) as socket:
        push(socket, 0)
        assert hear(socket, "error")["code"] == "insufficient_memory"
        push(socket, 3)
        socket.send_json({"type": "video.done"})
        assert hear(socket, "session.done")["session"]["frames_seen"] == 2


def test_an_error_that_nobody_expected_is_told_and_the_connection_goes_on(
    client: TestClient, live: LiveSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: LiveSession, frames: Any) -> int:
        raise RuntimeError("boom")

    with connected(client, live) as socket:
        with monkeypatch.context() as broken:
            broken.setattr(LiveSession, "take", fail)
            push(socket, 0)
            error = hear(socket, "error")
            assert error["code"] == "internal_error"
            assert "boom" not in error["message"]
        push(socket, 3)
        socket.send_json({"type": "video.done"})
        assert hear(socket, "session.done")["session"]["frames_seen"] == 1
    assert "boom" in caplog.text
