"""Real clients push frames to a real server."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus

from hermes_stream import Engine, Query, load_model
from hermes_stream.defaults import DEFAULT_MODEL
from hermes_stream.shapestream import is_right, make_questions, make_script
from hermes_stream.types import Frame

from .conftest import RunningServer, a_session
from .pushing import episode_jpeg, jpeg_of, pushing, state_of, wait_for_frames, wait_until

SCRIPT = make_script(900_100, 40)
GREY = jpeg_of(np.full((54, 96, 3), 128, np.uint8))


@pytest.fixture(scope="module")
def bundled() -> Iterator[Engine]:
    """The model that the server has, in this process."""
    with load_model(DEFAULT_MODEL) as engine:
        yield engine


def test_answers_over_the_wire_are_those_of_a_session_at_hand(
    server: RunningServer, session: str, bundled: Engine
) -> None:
    """An episode, many times faster than it happens: nothing is lost, and every answer is the same and mostly true."""
    questions = make_questions(SCRIPT, fps=1, every_seconds=2)
    at_hand = bundled.open()
    answers: list[tuple[str, str, str]] = []
    with pushing(server, session) as pusher:
        for second in range(40):
            picture = episode_jpeg(SCRIPT, second)
            pusher.push(second, picture)
            wait_for_frames(server, session, second + 1)
            at_hand.watch(Frame(float(second), np.array(Image.open(io.BytesIO(picture)))))
            for question in questions:
                if second <= question.time_s < second + 1:
                    theirs = pusher.ask(question.question, max_new_tokens=16)
                    ours = at_hand.ask(Query(question.question, max_new_tokens=16)).result()
                    answers.append((theirs["answer"], ours.text, question.answer))
        assert not pusher.of("frame.dropped")
    at_hand.close()
    assert len(answers) >= 16
    assert [theirs for theirs, _, _ in answers] == [ours for _, ours, _ in answers]
    assert sum(is_right(theirs, truth) for theirs, _, truth in answers) >= 0.6 * len(answers)


def test_a_camera_at_its_own_pace_is_followed(server: RunningServer) -> None:
    """Thirty frames a second come, four are looked at, and the newest is there when it is asked for."""
    with a_session(server, fps=4) as session, pushing(server, session) as pusher:
        begin = time.monotonic()
        for index in range(90):
            time.sleep(max(begin + index / 30 - time.monotonic(), 0))
            pusher.push(10 + index / 30, episode_jpeg(SCRIPT, 10 + index / 30))
        state = wait_until(server, session, lambda state: state["time_s"] == 12.767)
        assert (state["frames_seen"], state["frames_dropped"], state["state"]) == (12, 0, "live")
        assert is_right(pusher.ask("Which room is this?")["answer"], SCRIPT.scene_at(12.7).room)


def test_frames_that_come_too_fast_are_dropped_and_counted(server: RunningServer) -> None:
    n_frames = 200
    picture = jpeg_of(np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8))
    with a_session(server, fps=100) as session, pushing(server, session) as pusher:
        for index in range(n_frames):
            pusher.push(index / 100, picture)
        pusher.say("video.done")
        state = pusher.hear("session.done")["session"]
    reported = pusher.of("frame.dropped")
    assert reported[-1]["total"] == sum(event["n"] for event in reported) == state["frames_dropped"] > 0
    assert state["frames_seen"] + state["frames_dropped"] == n_frames
    # The newest frame is never the one that goes.
    assert state["time_s"] == 1.99
    assert len(reported) < n_frames / 10


def test_raw_pixels_and_base64_are_frames_too(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        pusher.say("session.config", format="raw", width=96, height=54)
        pusher.push(0, bytes(96 * 54 * 3))
        pusher.say("session.config", format="jpeg")
        pusher.say("video.frame", data="data:image/jpeg;base64," + base64.b64encode(GREY).decode(), time_s=1.0)
        pusher.say("video.frame", data=base64.b64encode(GREY).decode(), time_s=2.0)
        pusher.say("video.done")
        assert pusher.hear("session.done")["session"]["frames_seen"] == 3
        assert not pusher.of("frame.refused")


def test_several_questions_are_answered_at_once(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        pusher.push(0, episode_jpeg(SCRIPT, 3))
        wait_for_frames(server, session, 1)
        for name in "abc":
            pusher.say("video.query", text="Which room is this?", id=name)
        answers = [pusher.hear("response.text.done") for _ in range(3)]
        assert {answer["id"] for answer in answers} == set("abc")
        assert len({answer["answer"] for answer in answers}) == 1
        for name in "abc":
            deltas = [event["delta"] for event in pusher.of("response.text.delta") if event["id"] == name]
            assert "".join(deltas).strip() == answers[0]["text"]
        assert [event["type"] for event in pusher.events].count("response.start") == 3


def test_a_client_that_only_asks_and_listens_needs_no_feed(server: RunningServer) -> None:
    with (
        a_session(server, budget=16) as session,
        pushing(server, session) as pusher,
        pushing(server, session) as listener,
    ):
        listener.say("subscribe")
        listener.ask("Is anything there?")
        pusher.push(0, GREY)
        assert listener.hear("state")["state"] == "live"
        for second in range(1, 14):
            pusher.push(second, GREY)
            wait_for_frames(server, session, second + 1)
        assert listener.hear("compressed")["n"] >= 1
        stats = listener.hear("stats", frames_seen=14)
        assert {"time_s", "frames_dropped", "lag_s", "memory_bytes", "held_tokens", "waiting_frames"} < stats.keys()
        assert listener.hear("stats")["time_s"] == 13.0
        assert not pusher.of("stats")


def test_a_second_client_that_pushes_is_turned_away(server: RunningServer, session: str) -> None:
    with pushing(server, session) as first, pushing(server, session) as second:
        first.push(0, GREY)
        wait_until(server, session, lambda state: state["feed"] == "push")
        second.push(1, GREY)
        code, reason = second.closed()
        assert code == 4409
        assert "another client pushes" in reason
        first.push(2, GREY)
        first.say("video.done")
        assert first.hear("session.done")["session"]["frames_seen"] == 2


def test_a_session_that_the_server_watches_itself_takes_no_frames(server: RunningServer) -> None:
    with a_session(server, source="shapestream:900100") as session:
        wait_for_frames(server, session, 1)
        with pushing(server, session) as pusher:
            pusher.push(1000, GREY)
            code, reason = pusher.closed()
        assert code == 4409
        assert "the server pulls it" in reason
        assert state_of(server, session)["feed"] == "pull"


def test_a_client_may_push_when_the_one_before_has_left(server: RunningServer, session: str) -> None:
    with pushing(server, session) as first:
        first.push(0, GREY)
        wait_for_frames(server, session, 1)
    state = wait_until(server, session, lambda state: state["feed"] is None)
    assert (state["state"], state["reason"]) == ("gap", "the client left")
    with pushing(server, session) as second:
        second.push(1, GREY)
        second.push(2, GREY)
        second.say("video.done")
        done = second.hear("session.done")["session"]
    assert (done["frames_seen"], done["gaps"]) == (3, [])


def test_a_client_that_comes_back_later_leaves_a_gap(server: RunningServer, session: str) -> None:
    for start in (0, 60):
        with pushing(server, session) as pusher:
            for second in range(3):
                pusher.push(start + second, GREY)
            pusher.say("video.done")
            state = pusher.hear("session.done")["session"]
    assert state["gaps"] == [{"start_s": 2.0, "end_s": 60.0, "reason": "no client was pushing"}]
    [entry] = server.http.get(f"/v1/sessions/{session}/journal", params={"kind": "gap"}).json()["data"]
    assert (entry["start_s"], entry["end_s"]) == (2.0, 60.0)


def test_a_client_that_begins_anew_goes_on_where_the_session_stands(server: RunningServer, session: str) -> None:
    with pushing(server, session) as first:
        for second in range(3):
            first.push(second, GREY)
        wait_for_frames(server, session, 3)
    wait_until(server, session, lambda state: state["feed"] is None)
    with pushing(server, session) as second:
        second.push(0, GREY)
        refused = second.hear("frame.refused")
        assert refused["time_s"] == 0.0
        assert '"resume": true' in refused["message"]
        second.say("session.config", resume=True)
        for index in range(3):
            second.push(1.7e9 + index, GREY)
        second.say("video.done")
        state = second.hear("session.done")["session"]
    assert state["frames_seen"] == 6
    assert state["gaps"][0]["start_s"] == 2.0
    assert state["gaps"][0]["end_s"] + 2 == pytest.approx(state["time_s"], abs=0.01)


def test_after_the_last_frame_questions_may_be_asked_and_frames_not_sent(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        pusher.push(0, GREY)
        pusher.say("video.done")
        assert pusher.hear("session.done")["session"]["state"] == "ended"
        pusher.push(1, GREY)
        assert "after video.done" in pusher.hear("error")["message"]
        assert pusher.ask("Is anything there?")["type"] == "response.text.done"


def test_when_a_session_is_deleted_its_clients_are_told(server: RunningServer, session: str) -> None:
    with pushing(server, session) as pusher:
        pusher.push(0, GREY)
        wait_for_frames(server, session, 1)
        assert server.http.delete(f"/v1/sessions/{session}").status_code == 204
        assert pusher.closed() == (4410, f"session {session} was closed")


def test_a_session_that_is_not_there_has_no_handshake(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, pushing(server, "nothing"):
        pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (["openai-insecure-api-key.secret", "realtime"], "realtime"),
        (["v1", "realtime"], "realtime"),
        (["openai-insecure-api-key.secret", "v1"], "v1"),
        (["openai-insecure-api-key.secret"], None),
    ],
)
def test_a_key_among_the_sub_protocols_is_never_sent_back(
    server: RunningServer, session: str, offered: list[str], taken: str | None
) -> None:
    with pushing(server, session, subprotocols=offered) as pusher:
        assert pusher.socket.subprotocol == taken
