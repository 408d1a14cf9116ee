"""Replicas of Ray Serve, as users start them: sessions stick to one, survive it, and are told when they must move."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from hermes_stream.shapestream import EVALUATION_SEEDS, make_script
from tests.server.conftest import RunningServer, run_command, server_process
from tests.server.pushing import Pusher, episode_jpeg, pushing

pytestmark = pytest.mark.ray

_TTL_SECONDS = 5.0
_SAVE_SECONDS = 1.0
_SCRIPT = make_script(EVALUATION_SEEDS[7], 60)
_QUESTION = "What object came first?"


@contextmanager
def on_ray(shared: Path, *arguments: str) -> Iterator[RunningServer]:
    fleet = ("--shared", shared, "--shared-ttl-seconds", str(_TTL_SECONDS), "--save-seconds", str(_SAVE_SECONDS))
    with server_process("--ray", *fleet, *arguments) as running:
        yield running


def client_of(server: RunningServer, name: str) -> httpx2.Client:
    return httpx2.Client(base_url=server.address, timeout=60, headers={"x-session-id": name})


def holder(shared: Path, name: str) -> str:
    """The replica that owns a session."""
    newest = max((shared / "sessions" / name / "leases").glob("*-claim"))
    text: str = json.loads(newest.read_bytes())["holder"]
    return text


def process_of(replica: str) -> int:
    return int(replica.split("-")[-2])


def watch(pusher: Pusher, client: httpx2.Client, name: str, n_frames: int) -> None:
    for second in range(n_frames):
        pusher.push(second, episode_jpeg(_SCRIPT, second))
        deadline = time.monotonic() + 60
        while client.get(f"/v1/sessions/{name}").json()["frames_seen"] <= second:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def ask(client: httpx2.Client, name: str) -> tuple[str, float]:
    answer = client.post(f"/v1/sessions/{name}/ask", json={"question": _QUESTION})
    assert answer.status_code == 200, answer.text
    return answer.json()["answer"], answer.json()["time_s"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[RunningServer]:
    with on_ray(shared, "--replicas", "2") as running:
        yield running


def test_sessions_stick_to_their_replica_and_the_names_spread_over_both(server: RunningServer, shared: Path) -> None:
    names = [f"camera-{index}" for index in range(12)]
    for name in names:
        with client_of(server, name) as client:
            opened = client.post("/v1/sessions", json={})
        assert (opened.status_code, opened.json()["id"]) == (201, name)
    owners = [holder(shared, name) for name in names]
    assert len(set(owners)) == 2
    for name in names:
        headers = {"x-session-id": name}
        with client_of(server, name) as client, pushing(server, name, additional_headers=headers) as pusher:
            watch(pusher, client, name, 1)
    # Nothing had to move: HTTP and WebSocket found each session where it was made.
    assert [holder(shared, name) for name in names] == owners
    for name in names:
        with client_of(server, name) as client:
            assert client.delete(f"/v1/sessions/{name}").status_code == 204


def test_sessions_of_a_replica_that_is_killed_come_back_on_the_other(server: RunningServer, shared: Path) -> None:
    name = "killed"
    with client_of(server, name) as client:
        client.post("/v1/sessions", json={}).raise_for_status()
        with pushing(server, name, additional_headers={"x-session-id": name}) as pusher:
            watch(pusher, client, name, 8)
            before = ask(client, name)
            time.sleep(3 * _SAVE_SECONDS)
            first = holder(shared, name)
            os.kill(process_of(first), signal.SIGKILL)
            # Cut off without a word, as by any line that breaks; the client connects again.
            assert pusher.closed()[1] == ""
        killed_at = time.monotonic()
        while (state := client.get(f"/v1/sessions/{name}")).status_code != 200:
            assert time.monotonic() - killed_at < 6 * _TTL_SECONDS, state.text
            time.sleep(0.2)
        assert state.json()["frames_seen"] == 8
        with pushing(server, name, additional_headers={"x-session-id": name}) as pusher:
            told = pusher.hear("session.ready")["session"]["arrived"]
            assert (told["from"], told["known_until_s"]) == (first, 7.0)
            assert "its server was lost" in told["reason"]
        assert ask(client, name) == before
        assert holder(shared, name) != first
        [moved] = client.get(f"/v1/sessions/{name}/journal", params={"kind": "arrived"}).json()["data"]
        assert (moved["from"], moved["known_until_s"]) == (first, 7.0)
        client.delete(f"/v1/sessions/{name}").raise_for_status()


def test_when_replicas_are_stopped_sessions_are_saved_and_clients_told_to_come_back(tmp_path: Path) -> None:
    name = "drained"
    with on_ray(tmp_path, "--replicas", "1") as server, client_of(server, name) as client:
        client.post("/v1/sessions", json={}).raise_for_status()
        with pushing(server, name, additional_headers={"x-session-id": name}) as pusher:
            watch(pusher, client, name, 4)
            server.process.send_signal(signal.SIGTERM)
            code, reason = pusher.closed()
            assert (code, "connect again" in reason) == (4411, True)
        assert server.end() == 0
    leases = [path.name.rpartition("-")[2] for path in (tmp_path / "sessions" / name / "leases").iterdir()]
    assert "released" in leases
    newest = max((tmp_path / "sessions" / name / "checkpoints").glob("*.commit"))
    assert newest.name.endswith("-3.000.commit")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--replicas", "3/2", "--shared", "x"], "write a number"), ([], "--ray needs --shared")],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: list[str], told: str) -> None:
    done = run_command("serve", "--ray", "--port", "0", *arguments)
    assert (done.returncode, told in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
