"""Bad input over WebSocket: one clear line each, the connection goes on where it can, and nobody else notices."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hermes_stream.shapestream import make_script

from .conftest import RunningServer, a_session
from .pushing import Pusher, episode_jpeg, jpeg_of, pushing, state_of, wait_for_frames, wait_until
from .test_images import png_of_size
from .test_push_messages import FIELDS, KINDS, json_values

SCRIPT = make_script(900_100, 40)
GREY = jpeg_of(np.full((54, 96, 3), 128, np.uint8))
QUESTIONS = ("Which room is this?", "What objects appeared?", "How many different objects appeared in the last minute?")


@dataclass(frozen=True)
class Bystander:
    """A session that has nothing to do with what goes wrong, and what it says when it is asked."""

    server: RunningServer
    session: str

    def says(self) -> list[object]:
        http, path = self.server.http, f"/v1/sessions/{self.session}"
        answers = [http.post(f"{path}/ask", json={"question": text}).json()["answer"] for text in QUESTIONS]
        state = http.get(path).json()
        return [*answers, state["frames_seen"], state["frames_dropped"], state["held_tokens"], state["gaps"]]


@pytest.fixture(scope="module")
def bystander(server: RunningServer) -> Iterator[Bystander]:
    with a_session(server) as session:
        with pushing(server, session) as pusher:
            for second in range(12):
                pusher.push(second, episode_jpeg(SCRIPT, second))
                wait_for_frames(server, session, second + 1)
        wait_until(server, session, lambda state: state["feed"] is None)
        yield Bystander(server, session)


@pytest.fixture
def unharmed(bystander: Bystander) -> Iterator[None]:
    """What happens here changes nothing elsewhere, and is no surprise to the server."""
    before, n_lines = bystander.says(), len(bystander.server.said)
    yield
    assert bystander.says() == before
    assert not [line for line in bystander.server.said[n_lines:] if "Traceback" in line or "error" in line]


BAD_PICTURES = {
    "not an image": (b"this is no image", "no JPEG, PNG or WebP"),
    "cut off": (GREY[: len(GREY) // 2], "cannot be decoded"),
    "a bomb": (png_of_size(60_000, 60_000), "60000x60000 pixels"),
    "too many bytes": (bytes(9 * 2**20), "up to 8388608 are taken"),
}
BAD_TEXTS = {
    "no JSON": ("{", "no JSON"),
    "nested": ("[" * 50_000, "nested too deep"),
    "no object": ("[1, 2]", "no JSON object"),
    "no type": ('{"text": "What is it?"}', 'needs a "type"'),
    "a type that is not known": ('{"type": "video.qeury"}', "did you mean video.query"),
    "no question": ('{"type": "video.query"}', "text: Field required"),
    "an empty question": ('{"type": "video.query", "text": " "}', "expected what you want to know"),
    "a long question": (json.dumps({"type": "video.query", "text": "why " * 20_000}), "ask a shorter one"),
    "a field too many": ('{"type": "video.query", "text": "a", "colour": 1}', "colour"),
    "nothing to cancel": ('{"type": "query.cancel", "id": "q"}', "no open question 'q'"),
    "no picture": ('{"type": "video.frame"}', "data: Field required"),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_picture_is_refused_and_the_next_one_taken(server: RunningServer, session: str, name: str) -> None:
    data, told = BAD_PICTURES[name]
    with pushing(server, session) as pusher:
        pusher.push(0.0, data)
        refused = pusher.hear("frame.refused")
        assert refused["time_s"] == 0.0
        assert told in refused["message"]
        pusher.push(0.25, GREY)
        wait_for_frames(server, session, 1)
        assert pusher.ask("Is anything there?")["time_s"] == 0.25


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", BAD_TEXTS)
def test_what_means_nothing_is_told_in_one_line_and_the_connection_goes_on(
    server: RunningServer, session: str, name: str
) -> None:
    text, told = BAD_TEXTS[name]
    with pushing(server, session) as pusher:
        pusher.socket.send(text)
        error = pusher.hear("error")
        assert told in error["message"]
        assert "\n" not in error["message"]
        assert error["code"] in ("invalid_request", "context_length_exceeded", "not_found")
        assert pusher.ask("Is anything there?")["type"] == "response.text.done"


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1.7e9, 4.0])
def test_times_that_cannot_be_are_refused_and_the_connection_goes_on(
    server: RunningServer, session: str, time: float
) -> None:
    with pushing(server, session) as pusher:
        pusher.push(5.0, GREY)
        pusher.push(time, GREY)
        assert "time" in pusher.hear("frame.refused")["message"]
        pusher.push(6.0, GREY)
        assert wait_for_frames(server, session, 2)["time_s"] == 6.0


@pytest.mark.usefixtures("unharmed")
def test_a_binary_message_without_a_picture_is_an_error(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        pusher.socket.send(bytes(8))
        assert "too short" in pusher.hear("error")["message"]
        # And makes nobody a client that pushes.
        assert pusher.ask("Is anything there?")["type"] == "response.text.done"


@pytest.mark.usefixtures("unharmed")
def test_a_message_beyond_all_limits_ends_the_connection(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        with suppress(ConnectionClosed):
            pusher.socket.send(bytes(13 * 2**20))
        # A client that is still sending may find the connection reset before it has read why.
        assert pusher.closed()[0] in (1009, None)


@pytest.mark.usefixtures("unharmed")
def test_a_client_that_stops_reading_is_closed_and_what_it_held_is_free(server: RunningServer, session: str) -> None:
    """Its socket takes little, so that what is meant for it soon has nowhere to go."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = server.address.removeprefix("http://").partition(":")
    narrow.connect((host, int(port)))
    address = f"{server.websocket_address}/v1/sessions/{session}/stream"
    with connect(address, sock=narrow, max_queue=1, close_timeout=1) as silent:
        silent.send(struct.pack(">d", 0.0) + GREY)
        wait_for_frames(server, session, 1)
        for _ in range(100):
            for _ in range(500):
                silent.send('{"type": "session.config"}')
            if state_of(server, session)["feed"] is None:
                break
        state = wait_until(server, session, lambda state: state["feed"] is None)
        assert (state["state"], state["reason"]) == ("gap", "the client left")
        with pushing(server, session) as other:
            other.push(1.0, GREY)
            wait_for_frames(server, session, 2)
        # Once it reads again, it hears why.
        code, reason = Pusher(silent).closed()
        assert (code, reason) == (4408, "you do not read what you are sent")


spoken = st.builds(
    lambda kind, fields: json.dumps({**fields, "type": kind}),
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4),
)
# Of a client that says that it is done, one kind of connection is closed, rightly.
anything_but_an_end = st.binary(max_size=7) | (st.text(max_size=40) | spoken).filter(lambda text: "done" not in text)


@pytest.mark.usefixtures("unharmed")
@given(
    messages=st.lists(anything_but_an_end, max_size=8),
    is_named=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_client_says_its_connection_goes_on(
    server: RunningServer, fuzzed: str, messages: list[bytes | str], is_named: bool
) -> None:
    before = state_of(server, fuzzed)["frames_seen"]
    with pushing(server, fuzzed if is_named else None) as pusher:
        for message in messages:
            pusher.socket.send(message)
        pusher.say("query.cancel", id="the last one")
        assert pusher.hear("error", id="the last one")["code"] == "not_found"
        assert state_of(server, fuzzed)["frames_seen"] == before


@pytest.fixture(scope="module")
def fuzzed(server: RunningServer) -> Iterator[str]:
    with a_session(server) as name:
        yield name
