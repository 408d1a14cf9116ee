"""Whether the fleet on paper (`fleet.py`) loses as much of the video as two real servers do when one is killed.

    python benchmarks/fleet_check.py --sessions 8 --ttl-seconds 5 --save-seconds 5

Two servers share a folder. The first watches live sources; it is killed, and the second takes them over without being
asked. Each session states in its gaps what was not seen. Beside it stands what `fleet.blind_after` draws for the same
settings. Leaves with 1 if a session lost more than is possible on paper, or the median lies outside what is drawn;
writes benchmarks/results/fleet-check.json.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import record
from fleet import Load, Replica, blind_after

_FIRST_SEED = 900_300
_WATCHED_SECONDS, _PATIENCE_SECONDS = 30.0, 120.0
# A frame a second: a gap ends with the next frame, and begins with the last one that was saved.
_TICK_SECONDS = 1.0


class Server:
    """One of the two. address: as in http://127.0.0.1:40123."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process, self.address = process, address

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("/v1/sessions")["data"]
        return found


@contextmanager
def a_server(folder: str, ttl_seconds: float, save_seconds: float) -> Iterator[Server]:
    """Once it is ready, until the block is left."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = (sys.executable, "-c", "from hermes_stream.cli.main import main; main()", "serve", "--port", str(port))
    fleet = ("--shared", folder, "--shared-ttl-seconds", str(ttl_seconds), "--save-seconds", str(save_seconds))
    process = subprocess.Popen([*start, *fleet], stderr=subprocess.DEVNULL)
    server = Server(process, f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                server.call("/ready")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(_PATIENCE_SECONDS)


def measure(n_sessions: int, ttl_seconds: float, save_seconds: float) -> list[float]:
    """Seconds of video that each session did not see."""
    with tempfile.TemporaryDirectory() as folder, a_server(folder, ttl_seconds, save_seconds) as stays:
        with a_server(folder, ttl_seconds, save_seconds) as dies:
            for number in range(n_sessions):
                dies.call("/v1/sessions", {"source": f"shapestream:{_FIRST_SEED + number}", "fps": 1})
            time.sleep(_WATCHED_SECONDS)
            dies.process.send_signal(signal.SIGKILL)
            dies.process.wait()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            gaps = [session["gaps"] for session in stays.sessions()]
            if len(gaps) == n_sessions and all(gaps):
                return sorted(each[-1]["end_s"] - each[-1]["start_s"] for each in gaps)
            time.sleep(0.5)
    raise SystemExit(f"after {_PATIENCE_SECONDS:.0f} s not all sessions were taken over")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--ttl-seconds", type=float, default=5.0)
    parser.add_argument("--save-seconds", type=float, default=5.0)
    parser.add_argument("--restore-seconds", type=float, default=0.2, help="of one session, as given to fleet.py")
    given = parser.parse_args()
    measured = measure(given.sessions, given.ttl_seconds, given.save_seconds)
    replica = Replica(
        frames_per_second=1, question_seconds=0, memory_bytes=1, weight_bytes=0, total_bytes=1, snapshot_bytes=1,
        restore_seconds=given.restore_seconds, dollars_per_hour=0,
    )  # fmt: skip
    load = Load(cameras=given.sessions, detect_seconds=given.ttl_seconds, save_seconds=given.save_seconds)
    drawn = sorted(blind_after(replica, load, given.sessions, 1, random.Random(seed)) for seed in range(1000))
    is_as_drawn = (
        drawn[0] - _TICK_SECONDS <= median(measured) <= drawn[-1] + _TICK_SECONDS
        and measured[-1] <= drawn[-1] + 2 * _TICK_SECONDS
    )
    row = {
        "measured_seconds": [round(each, 2) for each in measured],
        "measured_median": round(median(measured), 2),
        "drawn_least": round(drawn[0], 2),
        "drawn_median": round(median(drawn), 2),
        "drawn_most": round(drawn[-1], 2),
        "is_as_drawn": is_as_drawn,
    }
    path = record.save("fleet-check", vars(given), [row])
    print(json.dumps(row), f"{path.name} is written", sep="\n")
    sys.exit(not is_as_drawn)


if __name__ == "__main__":
    main()
