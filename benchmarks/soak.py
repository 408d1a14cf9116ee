"""A stream that never ends, disturbed at every turn: does anything grow, break, or change what is remembered?

    python benchmarks/soak.py --frames 36000 --memory hermes,tiered

Watches the synthetic world at a frame a second. Between pieces of random length it is asked (several at once,
during ingest, cancelled), forked, saved, replaced by what was saved, looked back at, and told of gaps; after each
of these the laws of the memory are checked. At the end the same questions go to three: the session that went
through all this, a fresh process that takes up its snapshot, and a fresh process that watched the same frames and
gaps and was never disturbed. In float64 all must answer alike and hold the very same tokens. Time and memory are
compared between the first tenth and the last. Leaves with 1 if anything was not as it should be; writes
benchmarks/results/soak.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import record

from hermes_stream.engine.engine import Engine, load_model
from hermes_stream.engine.session import Session
from hermes_stream.memory.laws import check_version
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.shapestream import make_script, render_frame
from hermes_stream.shapestream.script import Script
from hermes_stream.types import Frame

SIZE = 320, 180
MOST_FRAMES_AT_ONCE = 48
GAP_EVERY_FRAMES = 1500
HELD = "tokens held"
QUESTIONS = (
    "What object is visible now?",
    "What color is the object?",
    "Which room is this?",
    "What was the first object?",
    "What object was visible before this one?",
    "Was there ever a red ring?",
    "How many objects have there been so far?",
)
# Of the last tenth against the first: what an allocator keeps, and what a busy machine's caches lose.
_MOST_GROWTH = {"memory_bytes": 1.1, "resident_bytes": 1.25, "ms_per_frame": 1.5}


@dataclass
class Tenth:
    """What a tenth of the stream took. ms_per_frame: of the processor. resident_bytes: of the process at its end."""

    ms_per_frame: float
    memory_bytes: int
    resident_bytes: int
    threads: int
    open_files: int


@dataclass
class Report:
    """memory: as it was asked for. answers: and what is held. failures: in words; empty where all is well."""

    memory: str
    frames: int
    disturbances: dict[str, int] = field(default_factory=dict)
    tenths: list[Tenth] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.failures.append(otherwise)


class World:
    """The frames of a stream, with what is known before: where nothing is seen for a while."""

    def __init__(self, seed: int, n_frames: int) -> None:
        self.seed, self.n_frames = seed, n_frames
        self._script: Script = make_script(seed, 2.0 * n_frames + 1)

    def seconds(self, index: int) -> float:
        """A gap of seven seconds before every so many frames."""
        return float(index + 7 * (index // GAP_EVERY_FRAMES))

    def frames(self, start: int, end: int) -> Iterator[Frame]:
        for index in range(start, end):
            at = self.seconds(index)
            yield Frame(at, render_frame(self._script, at, *SIZE))

    def watch(self, session: Session, start: int, end: int) -> None:
        """Frames `start` to `end`, and the gaps among them."""
        while start < end:
            if start and start % GAP_EVERY_FRAMES == 0:
                session.mark_gap(self.seconds(start - 1) + 1, self.seconds(start), "the camera was away")
            stop = min(end, (start // GAP_EVERY_FRAMES + 1) * GAP_EVERY_FRAMES)
            session.watch(self.frames(start, stop))
            start = stop


class Soak:
    """One session and everything that is done to it."""

    def __init__(self, engine: Engine, session: Session, world: World, report: Report, folder: Path) -> None:
        self.engine, self.session, self.world, self.report, self.folder = engine, session, world, report, folder
        self.dice = random.Random(world.seed)
        self.n_watched = 0
        self._seconds: list[float] = []
        self._disturb: tuple[Callable[[], None], ...] = (
            self.ask_several,
            self.ask_during_ingest,
            self.cancel,
            self.fork,
            self.save_and_go_on,
            self.look_back,
            self.score,
        )

    def run(self) -> None:
        tenth = self.world.n_frames // 10
        while self.n_watched < self.world.n_frames:
            n = min(self.dice.randint(1, MOST_FRAMES_AT_ONCE), self.world.n_frames - self.n_watched)
            self._watch(n)
            act = self.dice.choice(self._disturb)
            done = self.report.disturbances
            done[act.__name__] = done.get(act.__name__, 0) + 1
            act()
            self._check(act.__name__)
            if self.n_watched // tenth > len(self.report.tenths):
                self._end_tenth()
        self.report.answers = end_of(self.session)

    def ask_several(self) -> None:
        asked = [self.session.ask(question) for question in QUESTIONS[: self.dice.randint(1, 4)]]
        first = [each.result().text for each in asked]
        again = [self.session.ask(each.query).result().text for each in asked]
        self.report.require(first == again, f"asked twice at {self.n_watched} frames: {first} and {again}")

    def ask_during_ingest(self) -> None:
        n = min(MOST_FRAMES_AT_ONCE, self.world.n_frames - self.n_watched)
        watching = threading.Thread(target=self._watch, args=(n,))
        watching.start()
        for question in QUESTIONS[:3]:
            self.session.ask(question).result()
        watching.join()

    def cancel(self) -> None:
        answer = self.session.ask(self.dice.choice(QUESTIONS))
        answer.cancel()

    def fork(self) -> None:
        """A twin goes its own way; this one does not notice."""
        before = answers_of(self.session)
        twin = self.session.fork()
        twin.watch(Frame(self.world.seconds(self.n_watched) + at, picture_of_nothing()) for at in range(20))
        twin.ask(QUESTIONS[0]).result()
        twin.close()
        self.report.require(answers_of(self.session) == before, f"a fork was noticed at {self.n_watched} frames")

    def save_and_go_on(self) -> None:
        """What was saved takes the session's place."""
        path = self.folder / "soak.safetensors"
        before = answers_of(self.session)
        self.session.snapshot().save(path)
        self.session.close()
        self.session = self.engine.restore(Snapshot.load(path))
        self.report.require(
            answers_of(self.session) == before, f"restored at {self.n_watched} frames, it answers otherwise"
        )

    def look_back(self) -> None:
        past = self.session.as_of(self.session.stats.time_seconds * 0.9)
        past.ask(QUESTIONS[0]).result()
        past.close()

    def score(self) -> None:
        shares = self.session.score("Is a red ring visible now?").result()
        self.report.require(abs(sum(shares.probabilities) - 1) < 1e-3, "probabilities of yes and no are not 1 together")

    def _watch(self, n: int) -> None:
        # Of the processor: what else the machine does is no matter here.
        began = time.process_time()
        self.world.watch(self.session, self.n_watched, self.n_watched + n)
        self._seconds.append((time.process_time() - began) / n)
        self.n_watched += n

    def _check(self, what: str) -> None:
        stats = self.session.stats
        check_version(self.session.memory)
        self.report.require(
            stats.frames_seen == self.n_watched, f"after {what}: {stats.frames_seen} frames seen of {self.n_watched}"
        )
        self.report.require(self.engine.stats.n_sessions == 1, f"after {what}: {self.engine.stats.n_sessions} sessions")
        self.report.require(self.engine.stats.waiting_frames == 0, f"after {what}: frames are left waiting")

    def _end_tenth(self) -> None:
        process = Path("/proc/self")
        resident = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.report.tenths.append(
            Tenth(
                ms_per_frame=round(median(self._seconds) * 1000, 3),
                memory_bytes=self.session.stats.memory_bytes,
                resident_bytes=resident,
                threads=threading.active_count(),
                open_files=len(os.listdir(process / "fd")),
            )
        )
        self._seconds.clear()
        print(f"{self.report.memory}: {self.n_watched} frames, {self.report.tenths[-1]}", flush=True)


def picture_of_nothing() -> Any:
    return render_frame(make_script(1, 10), 5.0, *SIZE)


def answers_of(session: Session) -> dict[str, str]:
    """To every question, asked at once."""
    asked = {question: session.ask(question) for question in QUESTIONS}
    return {question: answer.result().text for question, answer in asked.items()}


def held_by(session: Session) -> str:
    """What tells one memory from another: which tokens each layer holds, and has in its archive, and where."""
    digest = hashlib.sha256()
    for layer in session.memory.layers:
        for table in (layer.table, layer.archive.table) if layer.archive.n_rows else (layer.table,):
            digest.update(table.data_CHN.contiguous().numpy().tobytes())
    return digest.hexdigest()


def end_of(session: Session) -> dict[str, str]:
    """All answers, and what is held."""
    return {**answers_of(session), HELD: held_by(session)}


def soak(model: str, memory: str, budget: str, seed: int, n_frames: int) -> Report:
    report = Report(memory, n_frames)
    with tempfile.TemporaryDirectory() as name, load_model(model, dtype="float64") as engine:
        folder = Path(name)
        run = Soak(engine, engine.open(memory, budget=budget), World(seed, n_frames), report, folder)
        run.run()
        run.session.snapshot().save(folder / "end.safetensors")
        shared = [
            "--model",
            model,
            "--memory",
            memory,
            "--budget",
            budget,
            "--seed",
            str(seed),
            "--frames",
            str(n_frames),
        ]
        for who, more in (("snapshot", ["--restore", str(folder / "end.safetensors")]), ("undisturbed", [])):
            fresh = answers_of_a_fresh_process([*shared, "--fresh", *more])
            report.require(fresh == report.answers, f"a fresh process ({who}) comes to {fresh}")
    check_growth(report)
    return report


def check_growth(report: Report) -> None:
    first, last = report.tenths[0], report.tenths[-1]
    for name, most in _MOST_GROWTH.items():
        before, after = getattr(first, name), getattr(last, name)
        report.require(after <= before * most, f"{name} grew from {before} to {after}")
    report.require(last.threads <= first.threads, f"threads: {first.threads}, then {last.threads}")
    report.require(last.open_files <= first.open_files, f"open files: {first.open_files}, then {last.open_files}")


def answers_of_a_fresh_process(arguments: Sequence[str]) -> dict[str, str]:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def fresh(model: str, memory: str, budget: str, world: World, restore: Path | None) -> dict[str, str]:
    with load_model(model, dtype="float64") as engine:
        if restore is not None:
            return end_of(engine.restore(Snapshot.load(restore)))
        session = engine.open(memory, budget=budget)
        world.watch(session, 0, world.n_frames)
        return end_of(session)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision")
    parser.add_argument("--memory", default="hermes,tiered")
    parser.add_argument("--budget", default="64")
    parser.add_argument("--frames", type=int, default=36_000)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--name", default="soak", help="of the file of results")
    parser.add_argument("--fresh", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--restore", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fresh:
        world = World(given.seed, given.frames)
        print(json.dumps(fresh(given.model, given.memory, given.budget, world, given.restore)))
        return
    reports = [soak(given.model, each, given.budget, given.seed, given.frames) for each in given.memory.split(",")]
    settings = {"model": given.model, "budget": given.budget, "frames": given.frames, "seed": given.seed}
    path = record.save(given.name, settings, [asdict(report) for report in reports])
    failures = [f"{report.memory}: {failure}" for report in reports for failure in report.failures]
    print("\n".join([*failures, f"{len(failures)} failures; {path.name} is written"]))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
