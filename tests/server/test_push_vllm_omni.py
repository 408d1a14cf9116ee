"""Clients that were written for vLLM-Omni's video chat find what they know.

The order of messages and their fields are those of its documentation and of its example client.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np

from hermes_stream.shapestream import is_right, make_script

from .conftest import RunningServer
from .pushing import Pusher, episode_jpeg, jpeg_of, pushing, state_of, wait_for_frames, wait_until_gone
from .test_push_messages import VLLM_OMNI_CONFIG

SCRIPT = make_script(900_100, 40)
GREY = base64.b64encode(jpeg_of(np.full((54, 96, 3), 128, np.uint8))).decode()


def configured(pusher: Pusher, **fields: Any) -> dict[str, Any]:
    """The session that a client gets which says all that its server knows, and some of ours."""
    config = {**VLLM_OMNI_CONFIG, **fields}
    pusher.say(config.pop("type"), **config)
    session: dict[str, Any] = pusher.hear("session.ready")["session"]
    return session


def test_the_example_client_sends_everything_at_once_and_reads_until_it_is_done(server: RunningServer) -> None:
    """More frames than wait anywhere, no times, the question and the end right behind them: all of them are seen."""
    with pushing(server, None) as pusher:
        configured(pusher)
        for index in range(20):
            pusher.say("video.frame", data=base64.b64encode(episode_jpeg(SCRIPT, 10 + index)).decode())
        pusher.say("video.query", text="Which room is this?")
        pusher.say("video.done")
        code, _ = pusher.closed()
    kinds = [event["type"] for event in pusher.events]
    assert kinds[:2] == ["session.ready", "response.start"]
    assert set(kinds[2:-2]) == {"response.text.delta"}
    assert kinds[-2:] == ["response.text.done", "session.done"]
    answer, done = pusher.events[-2:]
    assert answer["frames_seen"] == done["session"]["frames_seen"] == 20
    assert is_right(answer["text"], SCRIPT.scene_at(29).room)
    assert "".join(event["delta"] for event in pusher.of("response.text.delta")).strip() == answer["text"]
    assert code == 1000


def test_a_session_of_its_own_ends_with_the_connection(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        session = configured(pusher, fps=2, memory="sliding-window", budget=32)
        assert (session["fps"], session["memory"], session["budget"]) == (2.0, "sliding-window", 32)
        assert state_of(server, session["id"])["id"] == session["id"]
    wait_until_gone(server, session["id"])


def test_a_session_that_was_named_outlives_the_connection(server: RunningServer, session: str) -> None:
    name = session
    with pushing(server, None) as pusher:
        assert configured(pusher, session_id=name)["id"] == name
        pusher.say("video.frame", data=GREY)
        pusher.say("video.done")
        assert pusher.hear("session.done")["session"]["frames_seen"] == 1
        assert pusher.closed()[0] == 1000
    assert state_of(server, name)["frames_seen"] == 1


def test_a_client_that_does_not_configure_gets_what_is_usual(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        pusher.say("video.frame", data=GREY)
        assert pusher.hear("session.ready")["session"]["model"] == "tiny-llava-onevision"
        assert pusher.ask("Is anything there?")["frames_seen"] == 1


def test_times_are_taken_where_they_are_given(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        session = configured(pusher)["id"]
        pusher.say("video.frame", data=GREY, timestamp=5)
        wait_for_frames(server, session, 1)
        pusher.say("video.frame", data=GREY, time_s=5.5, frame_id="f1")
        pusher.say("video.frame", data=GREY, time_s=7.5)
        answer = pusher.ask("Is anything there?")
        assert (answer["frames_seen"], answer["time_s"]) == (2, 7.5)


def test_a_camera_without_times_is_not_looked_at_more_often_than_the_session_wants(server: RunningServer) -> None:
    """A few seconds of thirty frames a second: no more than may be ahead of the clock, and one a second."""
    with pushing(server, None) as pusher:
        session = configured(pusher)["id"]
        begin = time.monotonic()
        for index in range(150):
            time.sleep(max(begin + index / 50 - time.monotonic(), 0))
            pusher.say("video.frame", data=GREY)
        pusher.ask("Is anything there?")
        assert 60 <= state_of(server, session)["frames_seen"] <= 70
        assert not pusher.of("frame.dropped")


def test_of_sound_it_is_said_once_that_it_is_not_heard(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        configured(pusher)
        for _ in range(3):
            pusher.say("audio.chunk", data="AAAA")
        pusher.ask("Is anything there?")
        [error] = pusher.of("error")
        assert error["code"] == "audio_not_supported"


def test_a_session_that_is_not_there_is_an_error_and_another_may_be_tried(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        pusher.say("session.config", session_id="nothing")
        assert pusher.hear("error")["code"] == "not_found"
        assert configured(pusher)["frames_seen"] == 0


def test_what_a_session_is_opened_with_cannot_be_changed_later(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        session = configured(pusher)["id"]
        pusher.say("session.config", budget=32)
        assert "budget can be chosen when one is opened" in pusher.hear("error")["message"]
        pusher.say("session.config", session_id="other")
        assert session in pusher.hear("error")["message"]


def test_settings_that_cannot_work_are_an_error(server: RunningServer) -> None:
    with pushing(server, None) as pusher:
        pusher.say("session.config", memory="hermse")
        assert "did you mean hermes" in pusher.hear("error")["message"]
