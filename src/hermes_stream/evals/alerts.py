"""The run: every memory watches every episode, and all standing questions are looked at side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from hermes_stream.engine.session import Session
from hermes_stream.engine.standing import StandingQuestion, Trigger
from hermes_stream.evals.alert_truth import Posed, pose
from hermes_stream.evals.episodes import Episode
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.types import Frame
from hermes_stream.video import open_video


@dataclass(frozen=True, slots=True)
class Look:
    """What the model found at one moment. probability: of the first choice."""

    time_seconds: float
    probability: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One standing question on one episode, the run's `episode`-th, with every look at it in time order."""

    episode: int
    posed: Posed
    looks: tuple[Look, ...]

    def hit_seconds(self, question: StandingQuestion) -> list[float]:
        """When these looks make a hit, by the rules of a question: the posed one, or one with another threshold."""
        trigger, hits = Trigger(), []
        for look in self.looks:
            before, trigger = trigger, trigger.after(question, look.time_seconds, look.probability)
            if trigger.n_hits > before.n_hits:
                hits.append(look.time_seconds)
        return hits


@dataclass(eq=False)
class AlertRecord:
    """What one memory's standing questions saw. watched_seconds: of all questions together. error: why no more."""

    entry: Entry
    budget_tokens: int | None = None
    seen: list[Seen] = field(default_factory=list)
    watched_seconds: float = 0.0
    error: str | None = None


class Listener(Protocol):
    """Who wants to know how a run goes on."""

    def watched(self) -> None:
        """A model's memories are done with an episode."""

    def failed(self, lineup: Lineup, record: AlertRecord, episode: Episode) -> None:
        """A memory fell out."""


def every_frames(lineup: Lineup, wanted: int | None) -> int:
    """Frames between two looks: as wanted, or an interval of the model."""
    return wanted or lineup.engine.defaults.chunk_frames


def evaluate_alerts(
    lineups: Sequence[Lineup],
    episodes: Sequence[Episode],
    *,
    every: int | None = None,
    listener: Listener | None = None,
) -> list[list[AlertRecord]]:
    """One record per entry, for each line-up. every: frames between two looks, by default the model's interval.

    A memory that fails has an `error` and watches no further; the others go on.
    """
    records = [[AlertRecord(entry) for entry in lineup.entries] for lineup in lineups]
    for index, episode in enumerate(episodes):
        with episode.as_file() as path:
            for lineup, of_lineup in zip(lineups, records, strict=True):
                able = [record for record in of_lineup if record.error is None]
                for failed in _watch(lineup, able, episode, index, path, every_frames(lineup, every)):
                    if listener is not None:
                        listener.failed(lineup, failed, episode)
                if listener is not None:
                    listener.watched()
    return records


def _watch(
    lineup: Lineup, records: Sequence[AlertRecord], episode: Episode, index: int, path: Path, every: int
) -> Iterator[AlertRecord]:
    """One episode on one model; yields the records that failed."""
    posed = pose(episode.script, fps=lineup.fps, look_seconds=every / lineup.fps)
    by_entry = {record.entry: record for record in records}
    looks: dict[Entry, list[list[Look]]] = {entry: [[] for _ in posed] for entry in by_entry}
    with ExitStack() as stack:
        sessions = {entry: stack.enter_context(entry.open(lineup.engine, seed=episode.seed)) for entry in by_entry}
        side = SideBySide(sessions)
        for entry, session in sessions.items():
            by_entry[entry].budget_tokens = session.policy.budget_tokens
        video = stack.enter_context(open_video(path, fps=lineup.fps))
        pool = stack.enter_context(ThreadPoolExecutor(max(len(sessions), 1)))
        for frames in _batches(video, every):
            side.watch(frames, pool)
            for entry, found in side.try_each(lambda session: _look(session, posed)).items():
                for of_question, look in zip(looks[entry], found, strict=True):
                    of_question.append(look)
    for entry in side.sessions:
        record = by_entry[entry]
        record.seen += [Seen(index, *each) for each in zip(posed, map(tuple, looks[entry]), strict=True)]
        record.watched_seconds += len(posed) * episode.script.duration_seconds
    for entry, error in side.failed.items():
        by_entry[entry].error = f"{type(error).__name__}: {error}"
        yield by_entry[entry]


def _look(session: Session, posed: Sequence[Posed]) -> list[Look]:
    """All questions in common forwards."""
    asked = [session.score(each.question.question, each.question.choices) for each in posed]
    scores = [pending.result() for pending in asked]
    return [Look(each.time_seconds, each.probabilities[0]) for each in scores]


def _batches(frames: Iterable[Frame], n: int) -> Iterator[list[Frame]]:
    """Whole batches; what is left at the end is not looked at."""
    coming = iter(frames)
    while len(batch := list(islice(coming, n))) == n:
        yield batch
