"""A real server that watches sources itself."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ..video.clips import write_raw
from .conftest import RunningServer, server_process

_PATIENCE_SECONDS = 30.0
NOT_PUBLIC = "is not at a public address; its operator can let the server (--allow-network)"


def session_when(client: httpx2.Client, name: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the API says of a session, once something is so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so(session := client.get(f"/v1/sessions/{name}").json()):
        assert time.monotonic() < deadline, session
        time.sleep(0.05)
    return session


def test_the_synthetic_world_is_watched_at_once_and_asked(server: RunningServer) -> None:
    with server.client() as client:
        opened = client.post("/v1/sessions", json={"source": "shapestream:900001", "fps": 4})
        assert opened.status_code == 201
        name = opened.json()["id"]
        assert (opened.json()["feed"], opened.json()["source"]) == ("pull", "shapestream:900001")
        session = session_when(client, name, lambda session: session["frames_seen"] >= 4)
        assert (session["state"], session["gaps"]) == ("live", [])
        # It pulls, so nobody may push; it forks into a session with a source of its own.
        twin = client.post(f"/v1/sessions/{name}/fork", json={"source": "shapestream:2", "fps": 4}).json()
        session_when(client, twin["id"], lambda session: session["frames_seen"] > 4)
        answer = client.post(f"/v1/sessions/{name}/ask", json={"question": "What object is visible now?"}).json()
        assert answer["answer"]
        for each in (name, twin["id"]):
            assert client.delete(f"/v1/sessions/{each}").status_code == 204
        assert client.get(f"/v1/sessions/{name}").status_code == 404


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("/etc/passwd", "this server opens no files of its own; its operator can let it (--allow-local-files FOLDER)"),
        ("http://127.0.0.1/x", f"127.0.0.1 {NOT_PUBLIC}"),
        ("rtsp://[fe80::1]/x", f"fe80::1 {NOT_PUBLIC}"),
        ("udp://239.0.0.1:1", "'udp://239.0.0.1:1': udp: is nothing that this server opens; give rtsp://, rtsps://, "
         "http:// or https://, shapestream:SEED, or a file that --allow-local-files allows"),
        ("shapestream:x", "'shapestream:x' names no synthetic world; give shapestream:SEED, a number from 0 on"),
    ],
)  # fmt: skip
def test_a_refused_source_is_answered_400_in_one_line(server: RunningServer, source: str, line: str) -> None:
    with server.client() as client:
        before = client.get("/v1/sessions").json()["data"]
        refused = client.post("/v1/sessions", json={"source": source})
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_source")
        assert refused.json()["error"]["message"] == line
        assert len(client.get("/v1/sessions").json()["data"]) == len(before)


@pytest.mark.slow
def test_files_and_a_silent_camera_of_a_server_that_may(tmp_path: Path) -> None:
    write_raw(tmp_path / "a.mp4", "libx264", 50)
    arguments = ("--allow-local-files", tmp_path, "--allow-network", "127.0.0.1/32", "--state-dir", tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as camera:
        with server_process(*arguments) as running, running.client() as client:
            url = f"rtsp://ann:secret@127.0.0.1:{camera.getsockname()[1]}/x"
            silent = client.post("/v1/sessions", json={"source": url}).json()
            assert (silent["state"], silent["reason"]) == ("gap", "the source is being opened")
            assert "secret" not in str(silent)
            file = client.post("/v1/sessions", json={"source": "a.mp4", "speed": 0, "fps": 5}).json()
            ended = session_when(client, file["id"], lambda session: session["state"] == "ended")
            assert (ended["frames_seen"], ended["reason"]) == (10, "the source is at its end")
            started = time.monotonic()
        # The camera has accepted, and never says anything; the server ends all the same.
        assert time.monotonic() - started < 8
        assert running.process.returncode in (0, -signal.SIGTERM)
