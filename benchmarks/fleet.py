"""A fleet on paper: how many replicas so many cameras need, what they move and cost, and what a failure loses.

    python benchmarks/fleet.py --frames-per-second 160 --question-ms 40 --memory-mib 1.9 --snapshot-mib 1.1

The arguments are what was measured of one replica (`hermes-stream bench ingest`, `latency`, `streams`) and what is
believed of the rest. Questions and failures are drawn, one after the other, for an hour; frames are a steady load.
Prints a table for `--cameras 100,10000,1000000`; of a fleet of more than 2,000 replicas 2,000 are drawn.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

_HOUR_SECONDS = 3600.0
_MOST_DRAWN = 2_000
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One model on one accelerator.

    frames_per_second: that it takes in, of all its streams together. question_seconds: of the accelerator for one
    question and its answer. memory_bytes: that a session holds. total_bytes: for weights, sessions and work.
    snapshot_bytes: of a checkpoint. restore_seconds: from asking for one until its session takes frames.
    dollars_per_hour: of the machine.
    """

    frames_per_second: float
    question_seconds: float
    memory_bytes: float
    weight_bytes: float
    total_bytes: float
    snapshot_bytes: float
    restore_seconds: float
    dollars_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of a fleet.

    load: share of a replica's time that may be planned with; the rest takes over for others.
    bits_per_second: of one camera's video. fail_hours: between failures of one replica, on average.
    detect_seconds: until others believe that one is gone. save_seconds: between checkpoints of a session.
    """

    cameras: int
    fps: float = 1.0
    questions_per_minute: float = 0.2
    load: float = 0.7
    bits_per_second: float = 2e6
    decoded_per_core: float = 60.0
    fail_hours: float = 1000.0
    detect_seconds: float = 10.0
    save_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load needs. limited_by: "time" or "bytes" of a replica. Rates are of the whole fleet."""

    cameras_per_replica: int
    limited_by: str
    replicas: int
    video_gbit: float
    decode_cores: float
    held_bytes: float
    snapshot_gbit: float
    dollars_per_camera_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What an hour looked like. wait_seconds: of questions, until their first forward; median and 95th percentile.

    blind_seconds: of one session when its replica fails: the median, the most. failures: in the whole fleet.
    lost_share: of all video.
    """

    wait_seconds: tuple[float, float]
    blind_seconds: tuple[float, float]
    failures: int
    lost_share: float


def plan(replica: Replica, load: Load) -> Plan:
    """By arithmetic: what fits in a replica's time and bytes, and what the rest of the house must carry."""
    seconds_per_camera = (
        load.fps / replica.frames_per_second + load.questions_per_minute / 60 * replica.question_seconds
    )
    by_time = load.load / seconds_per_camera
    by_bytes = (replica.total_bytes - replica.weight_bytes) / replica.memory_bytes
    each = math.floor(min(by_time, by_bytes))
    if each < 1:
        raise SystemExit("not one camera fits: fewer frames a second, a smaller budget, or a larger machine")
    # One more than needed, so that one may fail.
    replicas = math.ceil(load.cameras / each) + 1
    return Plan(
        cameras_per_replica=each,
        limited_by="time" if by_time <= by_bytes else "bytes",
        replicas=replicas,
        video_gbit=load.cameras * load.bits_per_second / 1e9,
        decode_cores=load.cameras * load.fps / load.decoded_per_core,
        held_bytes=load.cameras * replica.memory_bytes,
        snapshot_gbit=load.cameras * replica.snapshot_bytes * 8 / load.save_seconds / 1e9,
        dollars_per_camera_hour=replicas * replica.dollars_per_hour / load.cameras,
    )


def draw(replica: Replica, load: Load, planned: Plan, seed: int = 0) -> Drawn:
    """An hour: questions wait for each other and for the forward that runs; failures for those who take over."""
    dice = random.Random(seed)
    n_drawn = min(planned.replicas, _MOST_DRAWN)
    cameras = load.cameras * n_drawn // planned.replicas
    waits = sorted(_waits(replica, load, n_drawn, cameras, dice))
    n_failures = _poisson(planned.replicas * _HOUR_SECONDS / (load.fail_hours * 3600), dice)
    blind = sorted(blind_after(replica, load, cameras // n_drawn, n_drawn - 1, dice) for _ in range(1000))
    lost_seconds = n_failures * (load.cameras / planned.replicas) * sum(blind) / len(blind)
    return Drawn(
        wait_seconds=(_quantile(waits, 0.5), _quantile(waits, 0.95)),
        blind_seconds=(_quantile(blind, 0.5), blind[-1]),
        failures=n_failures,
        lost_share=lost_seconds / (load.cameras * _HOUR_SECONDS),
    )


def blind_after(replica: Replica, load: Load, sessions: int, others: int, dice: random.Random) -> float:
    """Seconds of video that one of the sessions of a replica loses when it fails.

    What came since the last checkpoint, the time until somebody notices, and its turn among those that its new replica
    restores one after the other.
    """
    taken_over = math.ceil(sessions / max(others, 1))
    turn = dice.randint(1, max(taken_over, 1))
    return dice.uniform(0, load.save_seconds) + load.detect_seconds + turn * replica.restore_seconds


def _waits(replica: Replica, load: Load, n_replicas: int, cameras: int, dice: random.Random) -> list[float]:
    """Of each question of an hour: the forward that runs, and the questions before it at the same replica."""
    per_second = cameras * load.questions_per_minute / 60
    busy = load.fps * cameras / n_replicas / replica.frames_per_second
    forward_seconds = 1 / replica.frames_per_second
    free_at = [0.0] * n_replicas
    waits, now = [], 0.0
    # So many are enough for a quantile, however large the fleet.
    while now < _HOUR_SECONDS and len(waits) < 200_000:
        now += dice.expovariate(per_second) if per_second else _HOUR_SECONDS
        at = dice.randrange(n_replicas)
        running = dice.uniform(0, forward_seconds) if dice.random() < busy else 0.0
        start = max(now + running, free_at[at])
        free_at[at] = start + replica.question_seconds
        waits.append(start - now)
    return waits or [0.0]


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _poisson(mean: float, dice: random.Random) -> int:
    """By the events themselves for small means, by a normal one for large."""
    if mean > 1000:
        return max(round(dice.gauss(mean, math.sqrt(mean))), 0)
    n, at = 0, dice.expovariate(1.0)
    while at < mean:
        n, at = n + 1, at + dice.expovariate(1.0)
    return n


def row(replica: Replica, load: Load) -> str:
    planned = plan(replica, load)
    drawn = draw(replica, load, planned)
    cells = (
        f"{load.cameras:,}",
        f"{planned.cameras_per_replica:,} ({planned.limited_by})",
        f"{planned.replicas:,}",
        f"{planned.video_gbit:,.1f}",
        f"{planned.decode_cores:,.0f}",
        f"{planned.held_bytes / _GIB:,.0f}",
        f"{planned.snapshot_gbit:,.1f}",
        f"{planned.dollars_per_camera_hour:.4f}",
        f"{drawn.wait_seconds[0] * 1000:.0f} / {drawn.wait_seconds[1] * 1000:.0f}",
        f"{drawn.failures}",
        f"{drawn.blind_seconds[0]:.0f} / {drawn.blind_seconds[1]:.0f}",
        f"{drawn.lost_share:.1e}",
    )
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| cameras | per replica | replicas | video Gbit/s | decoding cores | held GiB | snapshots Gbit/s |"
    " $ per camera-hour | question waits ms, p50 / p95 | failures an hour | blind s, p50 / most | video lost |\n"
    "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", default="100,10000,1000000")
    parser.add_argument("--frames-per-second", type=float, required=True)
    parser.add_argument("--question-ms", type=float, required=True)
    parser.add_argument("--memory-mib", type=float, required=True)
    parser.add_argument("--snapshot-mib", type=float, required=True)
    parser.add_argument("--weight-gib", type=float, default=0.02)
    parser.add_argument("--total-gib", type=float, default=16.0)
    parser.add_argument("--restore-seconds", type=float, default=0.2)
    parser.add_argument("--dollars-per-hour", type=float, default=0.1)
    for name, default in (
        ("fps", 1.0),
        ("questions-per-minute", 0.2),
        ("load", 0.7),
        ("bits-per-second", 2e6),
        ("decoded-per-core", 60.0),
        ("fail-hours", 1000.0),
        ("detect-seconds", 10.0),
        ("save-seconds", 10.0),
    ):
        parser.add_argument(f"--{name}", type=float, default=default)
    given = parser.parse_args()
    replica = Replica(
        frames_per_second=given.frames_per_second,
        question_seconds=given.question_ms / 1000,
        memory_bytes=given.memory_mib * _MIB,
        weight_bytes=given.weight_gib * _GIB,
        total_bytes=given.total_gib * _GIB,
        snapshot_bytes=given.snapshot_mib * _MIB,
        restore_seconds=given.restore_seconds,
        dollars_per_hour=given.dollars_per_hour,
    )
    print(HEAD)
    for cameras in given.cameras.split(","):
        load = Load(
            cameras=int(cameras),
            fps=given.fps,
            questions_per_minute=given.questions_per_minute,
            load=given.load,
            bits_per_second=given.bits_per_second,
            decoded_per_core=given.decoded_per_core,
            fail_hours=given.fail_hours,
            detect_seconds=given.detect_seconds,
            save_seconds=given.save_seconds,
        )
        print(row(replica, load))


if __name__ == "__main__":
    main()
