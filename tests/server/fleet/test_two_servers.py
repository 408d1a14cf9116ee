"""Two real servers over one folder: one is killed, one ends, one hands over; the other goes on where it was."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from hermes_stream.shapestream import EVALUATION_SEEDS, make_questions, make_script
from tests.server.conftest import RunningServer, server_process
from tests.server.pushing import Pusher, episode_jpeg, pushing, state_of, wait_for_frames, wait_until

pytestmark = pytest.mark.slow

_SAVE_SECONDS = 1.0
_TTL_SECONDS = 4.0
_SEED = EVALUATION_SEEDS[7]
_WATCHED_SECONDS = 30
_SCRIPT = make_script(_SEED, 2 * _WATCHED_SECONDS)


@contextmanager
def a_server(shared: Path, *arguments: str) -> Iterator[RunningServer]:
    """One of a fleet."""
    settings = ("--shared", shared, "--save-seconds", str(_SAVE_SECONDS), "--shared-ttl-seconds", str(_TTL_SECONDS))
    with server_process(*settings, *arguments) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def second(shared: Path) -> Iterator[RunningServer]:
    """The one that stays."""
    with a_server(shared) as running:
        yield running


def routed(server: RunningServer, name: str) -> httpx2.Client:
    """What a proxy that hashes the id would send."""
    return httpx2.Client(base_url=server.address, timeout=60, headers={"x-session-id": name})


def ask(client: httpx2.Client, session: str, questions: list[str], **fields: Any) -> list[dict[str, Any]]:
    answers = []
    for question in questions:
        answer = client.post(f"/v1/sessions/{session}/ask", json={"question": question, **fields})
        assert answer.status_code == 200, answer.text
        answers.append({name: answer.json()[name] for name in ("answer", "time_s", "frames_seen", "evidence")})
    return answers


def names(server: RunningServer) -> list[str]:
    return [each["id"] for each in server.http.get("/v1/sessions").json()["data"]]


def questions_at_the_end() -> tuple[list[str], list[str]]:
    script = make_script(_SEED, _WATCHED_SECONDS + 1)
    asked = [q for q in make_questions(script, fps=1, every_seconds=0.5) if q.time_s > _WATCHED_SECONDS - 1]
    return [q.question for q in asked], [q.answer for q in asked]


def journal(client: httpx2.Client, session: str, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get(f"/v1/sessions/{session}/journal", params={"kind": kind}).json()["data"]
    return rows


def test_after_a_kill_the_other_answers_as_before_and_states_what_it_did_not_see(
    shared: Path, second: RunningServer
) -> None:
    texts, truths = questions_at_the_end()
    name = "front-door"
    with a_server(shared) as first:
        opened = first.http.post("/v1/sessions", json={"name": "door"}, headers={"x-session-id": name})
        assert (opened.status_code, opened.json()["id"]) == (201, name)
        twice = second.http.post("/v1/sessions", json={}, headers={"x-session-id": name})
        assert (twice.status_code, twice.json()["error"]["code"]) == (409, "session_exists")
        with pushing(first, name) as pusher:
            for moment in range(_WATCHED_SECONDS):
                pusher.push(moment, episode_jpeg(_SCRIPT, moment))
                wait_for_frames(first, name, moment + 1)
            before = ask(first.http, name, texts)
            first.http.post(f"/v1/sessions/{name}/ask", json={"question": texts[0], "dialogue": "d"}).raise_for_status()
            alert = {"question": "Is a red circle visible?", "name": "red"}
            first.http.post(f"/v1/sessions/{name}/alerts", json=alert).raise_for_status()
            time.sleep(3 * _SAVE_SECONDS)
            numbers = [row["number"] for row in journal(first.http, name, "answer")]
            first.end(signal.SIGKILL)
            # No close frame of a server that is dead: to be resumed like any lost line.
            assert pusher.closed() == (None, "")
        with routed(second, name) as client:
            killed_at = time.monotonic()
            assert ask(client, name, texts) == before
            assert time.monotonic() - killed_at < 2 * _TTL_SECONDS
            n_right = sum(answer["answer"] == truth for answer, truth in zip(before, truths, strict=True))
            assert n_right > len(truths) / 2, "answers that are wrong anyway would show nothing"
            assert [row["number"] for row in journal(client, name, "answer")][: len(numbers)] == numbers
            [moved] = journal(client, name, "arrived")
            assert "lost" in moved["reason"]
            assert moved["known_until_s"] == _WATCHED_SECONDS - 1
            [kept] = client.get(f"/v1/sessions/{name}/alerts").json()["data"]
            assert kept["name"] == "red"
        with pushing(second, name) as pusher:
            assert pusher.hear("session.ready")["session"]["arrived"]["reason"] == moved["reason"]
            pusher.say("session.config", resume=True)
            pusher.push(0.0, episode_jpeg(_SCRIPT, _WATCHED_SECONDS))
            resumed = wait_for_frames(second, name, _WATCHED_SECONDS + 1)
        [gap] = resumed["gaps"]
        assert gap["start_s"] == _WATCHED_SECONDS - 1
        assert gap["end_s"] == resumed["time_s"] > _WATCHED_SECONDS - 1


def test_a_live_source_is_watched_on_and_no_more_is_missing_than_was_not_saved(
    shared: Path, second: RunningServer
) -> None:
    with a_server(shared) as first:
        spec = {"source": f"shapestream:{_SEED}", "memory": "keep-all", "fps": 2}
        name = first.http.post("/v1/sessions", json=spec).json()["id"]
        wait_until(first, name, lambda state: state["time_s"] > 5)
        killed_at = state_of(first, name)["time_s"]
        first.end(signal.SIGKILL)
        deadline = time.monotonic() + 5 * _TTL_SECONDS
        # Nobody asks for it: it is adopted.
        while name not in names(second):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        later = wait_until(second, name, lambda state: bool(state["gaps"]) and state["time_s"] > killed_at)
        [gap] = later["gaps"]
        # A checkpoint every second, and what was on its way when it was made.
        assert 0 <= killed_at - gap["start_s"] <= _SAVE_SECONDS + 2
        assert gap["end_s"] >= killed_at
        second.http.delete(f"/v1/sessions/{name}").raise_for_status()


def test_a_session_that_is_asked_for_elsewhere_is_handed_over_and_its_client_told(
    shared: Path, second: RunningServer
) -> None:
    name = "gate"
    with a_server(shared) as first:
        first.http.post("/v1/sessions", json={}, headers={"x-session-id": name}).raise_for_status()
        with pushing(first, name) as pusher:
            for moment in range(8):
                pusher.push(moment, episode_jpeg(_SCRIPT, moment))
                wait_for_frames(first, name, moment + 1)
            before = ask(first.http, name, ["What object came first?"])
            realtime = connect(
                f"{first.websocket_address}/v1/realtime?session_id={name}", subprotocols=[Subprotocol("realtime")]
            )
            # Who was not routed here does not take a session from where somebody uses it.
            stray = second.http.get(f"/v1/sessions/{name}")
            assert (stray.status_code, stray.json()["error"]["code"]) == (421, "session_elsewhere")
            with routed(second, name) as client:
                assert ask(client, name, ["What object came first?"]) == before
                assert state_of(second, name)["frames_seen"] == 8
                [moved] = journal(client, name, "arrived")
            with realtime as socket:
                closes = [pusher.closed(), Pusher(socket).closed()]
            assert [code for code, _ in closes] == [4411, 4411]
            assert all("connect again" in reason for _, reason in closes)
        assert moved["reason"] == "it was handed over"
        assert first.http.get(f"/v1/sessions/{name}").status_code == 421
        with routed(first, name) as back:
            assert ask(back, name, ["What object came first?"]) == before
            assert back.delete(f"/v1/sessions/{name}").status_code == 204
        assert second.http.get(f"/v1/sessions/{name}").status_code == 404
        again = second.http.post("/v1/sessions", json={}, headers={"x-session-id": name})
        assert (again.status_code, again.json()["frames_seen"]) == (201, 0)


def test_a_server_that_ends_hands_everything_over(shared: Path, second: RunningServer) -> None:
    with a_server(shared) as first:
        pushed = first.http.post("/v1/sessions", json={}).json()["id"]
        spec = {"source": f"shapestream:{_SEED}", "memory": "keep-all", "fps": 2}
        pulled = first.http.post("/v1/sessions", json=spec).json()["id"]
        wait_until(first, pulled, lambda state: state["time_s"] > 2)
        with pushing(first, pushed) as pusher, first.http.stream("GET", f"/v1/sessions/{pushed}/events") as events:
            for moment in range(4):
                pusher.push(moment, episode_jpeg(_SCRIPT, moment))
                wait_for_frames(first, pushed, moment + 1)
            first.process.send_signal(signal.SIGTERM)
            code, reason = pusher.closed()
            told = [line for line in events.iter_lines() if "is_resumable" in line]
        assert (code, "this server ends" in reason, len(told)) == (4411, True, 1)
        ended_at = time.monotonic()
        assert first.process.wait(30) == 0
        assert state_of(second, pushed)["frames_seen"] == 4
        while pulled not in names(second):
            assert time.monotonic() - ended_at < 5 * _TTL_SECONDS
            time.sleep(0.05)
        # Its source is live: what it showed while nobody watched is a gap.
        [gap] = wait_until(second, pulled, lambda state: bool(state["gaps"]))["gaps"]
        assert gap["end_s"] - gap["start_s"] < 5 * _TTL_SECONDS
        second.http.delete(f"/v1/sessions/{pulled}").raise_for_status()


def test_a_stopped_server_that_wakes_up_serves_nothing_that_others_own(shared: Path, second: RunningServer) -> None:
    name = "hall"
    with a_server(shared) as first:
        first.http.post("/v1/sessions", json={}, headers={"x-session-id": name}).raise_for_status()
        with pushing(first, name) as pusher:
            for moment in range(4):
                pusher.push(moment, episode_jpeg(_SCRIPT, moment))
                wait_for_frames(first, name, moment + 1)
            time.sleep(3 * _SAVE_SECONDS)
            first.process.send_signal(signal.SIGSTOP)
            with routed(second, name) as client:
                assert client.get(f"/v1/sessions/{name}").json()["frames_seen"] == 4
            first.process.send_signal(signal.SIGCONT)
            code, reason = pusher.closed()
            assert (code, "goes on at another" in reason) == (4411, True)
        # Until it has written to the store again it serves nothing at all.
        while (refused := first.http.get(f"/v1/sessions/{name}")).status_code == 503:
            time.sleep(0.1)
        assert refused.status_code == 421
        with routed(second, name) as client:
            assert client.get(f"/v1/sessions/{name}").json()["frames_seen"] == 4
