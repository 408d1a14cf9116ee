"""The run: every entry of every model watches every episode and is asked every question at its time.

Shape letters: A tenths of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.session import Session
from hermes_stream.evals.alone import TimesAlone, measure_alone
from hermes_stream.evals.asking import Asker, Given
from hermes_stream.evals.episodes import Episode
from hermes_stream.evals.item import END
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.one_pass import Clip, OnePass, clips_of
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.evals.tasks.shapestream import ShapeStream
from hermes_stream.shapestream import Question, is_right
from hermes_stream.types import Query
from hermes_stream.video import open_video
from hermes_stream.viz.memory_map import kept_ages

# What the time to the first token is measured with; ShapeStream asks it, and the answer is not judged.
_QUERY = Query("What came before the current object?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question to one entry, and its answer.

    episode: its index in the run. held_tokens: per layer, when it was asked. memory_bytes: held then where the model
    runs, with the policy's own state; archive_bytes: elsewhere.
    """

    episode: int
    question: Question
    is_right: bool
    held_tokens: tuple[int, ...]
    memory_bytes: int
    archive_bytes: int = 0
    text: str = ""


@dataclass(eq=False)
class Record:
    """What one entry did, in the order of the questions: the same for all entries of a run that did not fail.

    budget_tokens: per layer; None without bounds. ages: at each episode's end, `[A]`, newest tenth first, mean of the
    layers. times: at the first episode's end. error: why there is no more.
    """

    entry: Entry
    budget_tokens: int | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    ages: list[NDArray[np.float64]] = field(default_factory=list)
    times: TimesAlone | None = None
    error: str | None = None


class Listener(Protocol):
    """Who wants to know how a run goes on. Each method is called as soon as there is something to say."""

    def answered(self) -> None:
        """All entries of a model have answered one more question."""

    def failed(self, lineup: Lineup, record: Record, episode: Episode) -> None:
        """An entry fell out."""

    def watched(self, lineup: Lineup, records: Sequence[Record], episode: Episode, index: int) -> None:
        """A model's entries are done with an episode, the run's `index`-th."""


def evaluate(
    lineups: Sequence[Lineup], episodes: Sequence[Episode], *, listener: Listener | None = None
) -> list[list[Record]]:
    """One record per entry, for each line-up.

    Each episode is written once, and the models watch it in turn; the entries of one model watch it side by side. An
    entry that fails has an `error` and watches no further; the others go on.
    """
    records = [[Record(entry) for entry in lineup.entries] for lineup in lineups]
    for index, episode in enumerate(episodes):
        with episode.as_file() as path:
            for lineup, of_lineup in zip(lineups, records, strict=True):
                if not (able := [record for record in of_lineup if record.error is None]):
                    continue
                for event in _watch(lineup, able, episode, index, path):
                    if listener is not None:
                        listener.failed(lineup, event, episode) if event else listener.answered()
                if listener is not None:
                    listener.watched(lineup, able, episode, index)
    return records


def _watch(
    lineup: Lineup, records: Sequence[Record], episode: Episode, index: int, path: Path
) -> Iterator[Record | None]:
    """One episode on one model; yields None after each question, and each record that failed."""
    by_entry = {record.entry: record for record in records}
    task = ShapeStream()
    clips = clips_of(task, task.load_episodes([episode]).items)
    clip = replace(clips[0], end_seconds=END) if clips else Clip(0.0, END, None, ())
    with ExitStack() as stack:
        side = SideBySide({entry: stack.enter_context(_open(lineup, entry, episode)) for entry in by_entry})
        for entry, session in side.sessions.items():
            by_entry[entry].budget_tokens = session.policy.budget_tokens
        chunk_frames = lineup.engine.defaults.chunk_frames
        askers = {entry: Asker(session, task) for entry, session in side.sessions.items()}
        one_pass = OnePass(side, askers, batch_frames=chunk_frames, fps=lineup.fps)
        video = stack.enter_context(clip.open(path, lineup.fps))
        for answers in one_pass.run(video, clip, to_end=True):
            for entry, given in answers:
                _note(by_entry[entry], index, task.questions[given.item.qid], given)
            yield from [None] * len({given.item.qid for _, given in answers})
            yield from _new_failures(side, by_entry)
        for entry, ages_A in side.try_each(lambda session: kept_ages(session.memory).mean(axis=0)).items():
            by_entry[entry].ages.append(ages_A)
        if index == 0:
            pictures = _first_pictures(path, lineup.fps, chunk_frames)
            for entry, times in measure_alone(side, _QUERY, pictures, seconds_per_frame=1 / lineup.fps).items():
                by_entry[entry].times = times
        yield from _new_failures(side, by_entry)


def _open(lineup: Lineup, entry: Entry, episode: Episode) -> Session:
    return entry.open(lineup.engine, seed=episode.seed)


def _new_failures(side: SideBySide[Entry], by_entry: Mapping[Entry, Record]) -> Iterator[Record]:
    for entry, error in side.failed.items():
        if by_entry[entry].error is None:
            by_entry[entry].error = f"{type(error).__name__}: {error}"
            yield by_entry[entry]


def _note(record: Record, index: int, question: Question, given: Given) -> None:
    """A question without an answer adds nothing: its memory is out."""
    if (answer := given.answer) is None:
        return
    right = is_right(answer.text, question.answer)
    held = answer.held_tokens, answer.memory_bytes, answer.archive_bytes
    record.verdicts.append(Verdict(index, question, right, *held, text=answer.text))


def _first_pictures(path: Path, fps: float, n: int) -> list[NDArray[np.uint8]]:
    with open_video(path, fps=fps) as video:
        return [frame.image_YXC for frame in islice(video, n)]
