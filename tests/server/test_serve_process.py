"""`hermes-stream serve` as its users run it: a process of its own, and real clients."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from .conftest import RunningServer, run_command, server_process
from .openai_clients import MODEL, client_of, connected, user
from .pushing import jpeg_of, pushing, state_of, wait_for_frames

_GIVEN = "given-key-of-28-characters.."


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str, Path]]:
    """A server with a key that was made and one that was given; with the first and the state folder."""
    state_dir = tmp_path_factory.mktemp("locked") / "state"
    made = run_command("keys", "add", "made", "--state-dir", state_dir).stdout.strip()
    options = ("--state-dir", state_dir, "--host", "0.0.0.0")
    with server_process(*options, HERMES_STREAM_API_KEYS=f"given:{_GIVEN}") as server:
        yield replace(server, address=server.address.replace("0.0.0.0", "127.0.0.1")), made, state_dir


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_a_key_nothing_beyond_this_machine_is_served() -> None:
    done = run_command("serve", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.startswith("error: without an API key")
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_is_taken_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run_command("serve", "--port", other.getsockname()[1])
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_keys_are_made_once_listed_and_removed(tmp_path: Path) -> None:
    made = run_command("keys", "add", "camera", "--state-dir", tmp_path)
    key = made.stdout.strip()
    listed = run_command("keys", "list", "--state-dir", tmp_path)
    assert listed.stdout.startswith("camera\t")
    assert key not in listed.stdout + made.stderr
    assert run_command("keys", "remove", "camera", "--state-dir", tmp_path).returncode == 0
    assert run_command("keys", "list", "--state-dir", tmp_path).stdout == ""
    assert run_command("keys", "remove", "camera", "--state-dir", tmp_path).returncode == 2


@pytest.mark.parametrize("path", ["/v1/sessions", "/metrics", "/docs", "/openapi.json"])
def test_every_door_wants_a_key(locked: tuple[RunningServer, str, Path], path: str) -> None:
    server, made, _ = locked
    statuses = [
        httpx2.get(server.address + path, headers=headers).status_code
        for headers in ({}, bearer("wrong"), bearer(made), bearer(_GIVEN))
    ]
    assert statuses == [401, 401, 200, 200]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_wants_none(locked: tuple[RunningServer, str, Path], path: str) -> None:
    assert httpx2.get(locked[0].address + path).status_code == 200


def test_a_websocket_without_a_key_never_opens(locked: tuple[RunningServer, str, Path]) -> None:
    with pytest.raises(InvalidStatus) as caught, connect(f"{locked[0].websocket_address}/v1/sessions/any/stream"):
        pass
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["error"]["code"] == "missing_api_key"


def test_sessions_of_one_key_are_not_there_for_another(locked: tuple[RunningServer, str, Path]) -> None:
    server, made, _ = locked
    with httpx2.Client(base_url=server.address, headers=bearer(made)) as owner:
        name = owner.post("/v1/sessions", json={}).json()["id"]
        with httpx2.Client(base_url=server.address, headers=bearer(_GIVEN)) as other:
            assert name not in other.get("/v1/sessions").text
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/journal"), ("POST", "/ask"), ("POST", "/fork")):
                response = other.request(method, f"/v1/sessions/{name}{path}", json={"question": "?"})
                assert response.status_code in (404, 400), path
                assert "there is no session" in response.text or response.status_code == 400
        assert owner.get(f"/v1/sessions/{name}").status_code == 200
        owner.delete(f"/v1/sessions/{name}")


def test_a_key_counts_from_when_it_is_made_until_it_is_removed(locked: tuple[RunningServer, str, Path]) -> None:
    server, _, state_dir = locked
    key = run_command("keys", "add", "guest", "--state-dir", state_dir).stdout.strip()
    assert httpx2.get(f"{server.address}/v1/sessions", headers=bearer(key)).status_code == 200
    run_command("keys", "remove", "guest", "--state-dir", state_dir)
    assert httpx2.get(f"{server.address}/v1/sessions", headers=bearer(key)).status_code == 401


def test_openais_client_needs_a_key_for_what_its_sessions_are_asked(locked: tuple[RunningServer, str, Path]) -> None:
    server, made, _ = locked
    asked: dict[str, Any] = {"model": MODEL, "messages": [user("Which room is this?")]}
    with client_of(server.address, "wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(**asked)
        with pytest.raises(InvalidStatus) as caught, connected(stranger):
            pass
    assert caught.value.response.status_code == 401
    with client_of(server.address, made) as owner, connected(owner) as connection:
        created: Any = connection.recv()
        name = {"session_id": created.session.id}
        assert owner.chat.completions.create(**asked, extra_body=name).choices[0].message.content
        with client_of(server.address, _GIVEN) as other, pytest.raises(openai.NotFoundError):
            other.chat.completions.create(**asked, extra_body=name)


def test_openais_client_makes_secrets_for_browsers(locked: tuple[RunningServer, str, Path]) -> None:
    server, made, _ = locked
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key=made) as client:
        created = client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60}, session={"type": "realtime"}
        )
    assert created.value.startswith("ek_")
    assert 0 < created.expires_at - time.time() <= 61
    assert created.session.type == "realtime"
    with httpx2.Client(base_url=server.address, headers=bearer(created.value)) as browser:
        assert browser.get("/v1/sessions").status_code == 200
        assert browser.post("/v1/realtime/client_secrets", json={}).status_code == 401


def test_a_secret_opens_a_realtime_connection(locked: tuple[RunningServer, str, Path]) -> None:
    server, made, _ = locked
    with client_of(server.address, made) as owner:
        secret = owner.realtime.client_secrets.create().value
    with client_of(server.address, secret) as browser, connected(browser) as connection:
        assert connection.recv().type == "session.created"


def test_openais_client_reads_why_it_is_refused(locked: tuple[RunningServer, str, Path]) -> None:
    client = openai.OpenAI(base_url=f"{locked[0].address}/v1", api_key="wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError) as caught:
        client.realtime.client_secrets.create()
    assert caught.value.code == "invalid_api_key"


def test_every_line_of_the_log_is_json_and_no_key_is_in_it(locked: tuple[RunningServer, str, Path]) -> None:
    server, made, _ = locked
    with httpx2.Client(base_url=server.address, headers=bearer(made)) as client:
        name = client.post("/v1/sessions", json={}).json()["id"]
        client.get(f"/v1/sessions/{name}?api_key={made}")
        client.get(f"/v1/nowhere/{_GIVEN}")
        client.delete(f"/v1/sessions/{name}")
    (line,) = [row for row in rows_of(server, "GET") if row.get("session") == name]
    assert line["ms"] > 0
    assert {field: line[field] for field in ("method", "route", "status", "key")} == {
        "method": "GET", "route": "/v1/sessions/{session_id}", "status": 200, "key": "made",
    }  # fmt: skip
    log = "".join(server.said)
    assert made not in log
    assert _GIVEN not in log


def rows_of(server: RunningServer, method: str) -> list[dict[str, Any]]:
    return [row for row in server.rows if row.get("method") == method]


def test_a_body_without_end_is_cut_off(server: RunningServer) -> None:
    def body() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    response = httpx2.post(f"{server.address}/v1/sessions", content=body())
    assert response.status_code == 413


def test_headers_without_end_are_cut_off(server: RunningServer) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    address = (host, int(port))
    with (
        socket.create_connection(address, timeout=10) as client,
        pytest.raises((ConnectionResetError, BrokenPipeError)),
    ):
        send_headers(client, 100_000)


def send_headers(client: socket.socket, n: int) -> None:
    client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    for _ in range(n):
        client.sendall(b"X-Padding: " + b"y" * 1000 + b"\r\n")


def test_a_name_that_points_here_is_not_let_in(server: RunningServer) -> None:
    response = httpx2.get(f"{server.address}/v1/sessions", headers={"host": "rebound.example"})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "host_not_allowed")


@pytest.mark.slow
def test_a_signal_saves_all_and_ends_what_would_go_on(tmp_path: Path) -> None:
    """With a page that listens, a client that pushes, a source that is watched and a connection that does nothing."""
    options = ("--state-dir", tmp_path / "state", "--save-seconds", "3600")
    is_listening, has_ended = threading.Event(), threading.Event()

    def listen(address: str) -> None:
        with httpx2.stream("GET", address, timeout=60) as response:
            for _ in response.iter_lines():
                is_listening.set()
        has_ended.set()

    with server_process(*options) as server, server.client() as idle:
        pulled = idle.post("/v1/sessions", json={"source": "shapestream:900100", "speed": 20}).json()["id"]
        pushed = idle.post("/v1/sessions", json={}).json()["id"]
        thread = threading.Thread(target=listen, args=[f"{server.address}/v1/sessions/{pushed}/events"])
        thread.start()
        assert is_listening.wait(30)
        with pushing(server, pushed, origin=server.address) as client:
            client.push(0.0, jpeg_of(np.zeros((48, 64, 3), np.uint8)))
            client.push(1.0, b"no picture")
            client.hear("frame.refused")
            seen = [
                wait_for_frames(server, pulled, 8)["frames_seen"],
                wait_for_frames(server, pushed, 1)["frames_seen"],
            ]
            assert 'frames_total{outcome="refused"} 1.0' in idle.get("/metrics").text
            began = time.monotonic()
            assert server.end() == 0
            assert time.monotonic() - began < 15
            assert client.closed()[0] == 1012
        thread.join(10)
        assert has_ended.is_set()
    assert server.rows[-1]["message"] == "ended"
    assert not [row for row in server.rows if row["level"] != "info"]
    with server_process(*options) as again:
        for name, n_frames in zip((pulled, pushed), seen, strict=True):
            assert state_of(again, name)["frames_seen"] >= n_frames
            assert next("is back" in row["message"] for row in again.rows if row.get("session") == name)


@pytest.mark.slow
def test_a_second_signal_ends_at_once() -> None:
    with server_process() as server, server.client() as client:
        name = client.post("/v1/sessions", json={}).json()["id"]
        question = {"question": "what?", "max_new_tokens": 4096, "stream": True, "temperature": 10}
        with client.stream("POST", f"/v1/sessions/{name}/ask", json=question) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            while not any("ending" in line for line in list(server.said)):
                time.sleep(0.01)
            began = time.monotonic()
            assert server.end() == 128 + signal.SIGTERM
            assert time.monotonic() - began < 2.5
