"""Real servers: `hermes-stream serve` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_COMMAND = (sys.executable, "-c", "from hermes_stream.cli.main import main; main()")
_LISTENING = re.compile(r"listening on (http://[^\s\"]+)")
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


@dataclass
class ServerProcess:
    """A server that runs. address: as in http://127.0.0.1:1234."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def socket_address(self) -> str:
        return self.address.replace("http://", "ws://")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it has logged so far; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop it and return its exit status; negative if a signal ended it."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def environment_of(**more: str) -> dict[str, str]:
    """For processes: one thread each, and no keys of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HERMES_STREAM_")}
    return {**clean, "OMP_NUM_THREADS": "1", **more}


def run_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `hermes-stream` to its end, in a process of its own."""
    command = [*_COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment_of(**environment)
    )


def start_server(log: Path, *arguments: object, **environment: str) -> ServerProcess:
    """Run `hermes-stream serve` on a free port; returns once it can be asked."""
    command = [*_COMMAND, "serve", "--port", "0", *map(str, arguments)]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=environment_of(**environment))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := _LISTENING.search(log.read_text()):
            return ServerProcess(found[1], process, log)
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers with any options; they end with the test."""
    running: list[ServerProcess] = []

    def start(*arguments: object, **environment: str) -> ServerProcess:
        running.append(start_server(tmp_path / f"server-{len(running)}.log", *arguments, **environment))
        return running[-1]

    yield start
    for server in running:
        server.end()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not need one of their own: no keys, the bundled model, a state folder."""
    folder = tmp_path_factory.mktemp("server")
    running = start_server(folder / "log", "--state-dir", folder / "state")
    yield running
    running.end()
