"""A real server in a process of its own, as users start it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

_READY_SECONDS = 120.0
_END_SECONDS = 30.0
_COMMAND = (sys.executable, "-c", "from hermes_stream.cli.main import main; main()")
_LISTENING = re.compile(r"listening on (http://[^\s\"]+)")


@dataclass(frozen=True)
class RunningServer:
    """address: as in http://127.0.0.1:40123. http: a client of it. process: to be killed. said: on standard error."""

    address: str
    http: httpx2.Client
    process: subprocess.Popen[str]
    # Long: not to be shown whenever a test fails.
    said: list[str] = field(repr=False)

    @property
    def websocket_address(self) -> str:
        return self.address.replace("http", "ws", 1)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it has logged so far; every line must be JSON."""
        return [json.loads(line) for line in list(self.said)]

    def client(self, key: str | None = None) -> httpx2.Client:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.address, timeout=60, headers=headers)

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop it and return its exit status; negative if a signal ended it."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(_END_SECONDS)


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `hermes-stream` to its end, in a process of its own."""
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=_environment())


@contextmanager
def server_process(*arguments: str | Path, port: int = 0, **environment: str) -> Iterator[RunningServer]:
    """`hermes-stream serve`, on a free port if none is given, from when it listens until the block is left."""
    command = [*_COMMAND, "serve", "--port", str(port), *map(str, arguments)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=_environment() | environment
    )
    said: list[str] = []
    is_ready = threading.Event()
    reader = threading.Thread(target=_read, args=(process, said, is_ready), daemon=True)
    reader.start()
    try:
        is_ready.wait(_READY_SECONDS)
        address = _LISTENING.search("".join(said))
        assert address is not None, f"the server did not start: {''.join(said)}"
        with httpx2.Client(base_url=address[1], timeout=60) as http:
            yield RunningServer(address[1], http, process, said)
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()


def _environment() -> dict[str, str]:
    """One thread, no network, and no keys of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_STREAM_")}
    return {**clean, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _read(process: subprocess.Popen[str], said: list[str], is_ready: threading.Event) -> None:
    """Until the process ends, so that it never waits for somebody who reads."""
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if _LISTENING.search(line):
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
    answer = server.http.post("/v1/sessions", json=spec)
    assert answer.status_code == 201, answer.text
    name = answer.json()["id"]
    yield name
    server.http.delete(f"/v1/sessions/{name}")


@pytest.fixture
def session(server: RunningServer) -> Iterator[str]:
    """The id of a session as it is by default."""
    with a_session(server) as name:
        yield name
