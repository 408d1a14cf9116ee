"""A real server in a process of its own, as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

_READY_SECONDS = 120.0
_END_SECONDS = 30.0
_LISTENING = "listening on "


@dataclass(frozen=True)
class RunningServer:
    """address: as in http://127.0.0.1:40123. process: to be killed. said: lines on standard error so far."""

    address: str
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def websocket_address(self) -> str:
        return self.address.replace("http", "ws", 1)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.address, timeout=60)


@contextmanager
def server_process(*arguments: str | Path) -> Iterator[RunningServer]:
    """`hermes-stream serve` on a free port, from when it listens until the block is left."""
    command = [sys.executable, "-c", "from hermes_stream.cli.main import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    )
    said: list[str] = []
    is_ready = threading.Event()
    reader = threading.Thread(target=_read, args=(process, said, is_ready), daemon=True)
    reader.start()
    try:
        is_ready.wait(_READY_SECONDS)
        address = next((line.rpartition(_LISTENING)[2].strip() for line in said if _LISTENING in line), None)
        assert address is not None, f"the server did not start: {''.join(said)}"
        yield RunningServer(address, process, said)
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()


def _read(process: subprocess.Popen[str], said: list[str], is_ready: threading.Event) -> None:
    """Until the process ends, so that it never waits for somebody who reads."""
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if _LISTENING in line:
            is_ready.set()
    is_ready.set()
    process.stderr.close()


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """One server for all tests that do not need their own: the bundled model, no state folder."""
    with server_process() as running:
        yield running


@contextmanager
def a_session(server: RunningServer, **spec: Any) -> Iterator[str]:
    """The id of a session with these settings, which is deleted when the block is left."""
    with server.client() as client:
        answer = client.post("/v1/sessions", json=spec)
        assert answer.status_code == 201, answer.text
        name = answer.json()["id"]
        yield name
        client.delete(f"/v1/sessions/{name}")


@pytest.fixture
def session(server: RunningServer) -> Iterator[str]:
    """The id of a session as it is by default."""
    with a_session(server) as name:
        yield name
