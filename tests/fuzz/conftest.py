"""How long each target is tried, and what came of it.

FUZZ_SECONDS: of each target, 60 by default. FUZZ_SEED: where the changes begin, by default another place each time.
FUZZ_REPORT: a file that gets the counts, as benchmarks/results has them.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hermes_stream.bench.machine import Machine
from hermes_stream.bench.results import write_results
from hermes_stream.shapestream import make_script

from ..server.conftest import RunningServer, a_session, server_process
from ..server.pushing import episode_jpeg, pushing, wait_for_frames

_SCRIPT = make_script(900_200, 20)

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60"))
_SEED = int(os.environ.get("FUZZ_SEED", secrets.randbelow(2**31)))
_tallies: dict[str, Counter[str]] = {}


class Tries:
    """Dice, one after the other, until the time is over; what each came to is counted."""

    def __init__(self, target: str) -> None:
        self.count = _tallies.setdefault(target, Counter())
        self.seed = _SEED

    def __iter__(self) -> Iterator[random.Random]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            self.seed += 1
            self.count["cases"] += 1
            yield random.Random(self.seed)


@pytest.fixture
def tries(request: pytest.FixtureRequest) -> Tries:
    return Tries(request.node.name.removeprefix("test_"))


@pytest.fixture(scope="session", autouse=True)
def report() -> Iterator[None]:
    """Where nobody asks for a report, the counts are printed."""
    yield
    rows = [{"target": target, **tally} for target, tally in _tallies.items()]
    if path := os.environ.get("FUZZ_REPORT"):
        settings = {"seconds": SECONDS, "seed": _SEED}
        write_results(Path(path), Machine.here(), f"FUZZ_SEED={_SEED} make fuzz", settings, rows)
    print(f"\nFUZZ_SEED={_SEED}", *rows, sep="\n")


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    with server_process() as running:
        yield running


@pytest.fixture
def resident_bytes(server: RunningServer) -> Callable[[], int]:
    """Of the server's process."""

    def read() -> int:
        pages = Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    return read


@contextmanager
def a_fed_session(server: RunningServer) -> Iterator[str]:
    """The id of a session that has seen eight frames, and sees no more."""
    with a_session(server) as name:
        with pushing(server, name) as pusher:
            for second in range(8):
                pusher.push(second, episode_jpeg(_SCRIPT, second))
                wait_for_frames(server, name, second + 1)
        yield name
