"""The run: every entry of every model watches every episode and is asked every question at its time.

Shape letters: A tenths of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.session import Session
from hermes_stream.evals.alone import TimesAlone, measure_alone
from hermes_stream.evals.episodes import Episode
from hermes_stream.evals.lineup import Entry, Lineup
from hermes_stream.evals.side_by_side import answer_side_by_side
from hermes_stream.shapestream import Question, is_right
from hermes_stream.types import Answer, Query
from hermes_stream.video import open_video
from hermes_stream.viz.memory_map import kept_ages

# What the time to the first token is measured with; ShapeStream asks it, and the answer is not judged.
_QUERY = Query("What came before the current object?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question to one entry. episode: its index in the run. held_tokens: per layer, when it was asked."""

    episode: int
    question: Question
    is_right: bool
    held_tokens: tuple[int, ...]
    memory_bytes: int


@dataclass(eq=False)
class Record:
    """What one entry did, in the order of the questions: the same for all entries of a run.

    budget_tokens: per layer; None without bounds. ages: at each episode's end, `[A]`, newest tenth first, mean of the
    layers. times: at the first episode's end.
    """

    entry: Entry
    budget_tokens: int | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    ages: list[NDArray[np.float64]] = field(default_factory=list)
    times: TimesAlone | None = None


def evaluate(
    lineups: Sequence[Lineup], episodes: Sequence[Episode], *, progress: Callable[[int], None] | None = None
) -> list[list[Record]]:
    """One record per entry, for each line-up. progress: called with the number of questions answered by all entries.

    Each episode is written once, and the models watch it in turn; the entries of one model watch it side by side.
    """
    records = [[Record(entry) for entry in lineup.entries] for lineup in lineups]
    n_answered = 0
    for index, episode in enumerate(episodes):
        with episode.as_file() as path:
            for lineup, of_lineup in zip(lineups, records, strict=True):
                for _ in _watch(lineup, of_lineup, episode, index, path):
                    n_answered += 1
                    if progress is not None:
                        progress(n_answered)
    return records


def _watch(lineup: Lineup, records: Sequence[Record], episode: Episode, index: int, path: Path) -> Iterator[None]:
    """One episode on one model; yields after each question."""
    with ExitStack() as stack:
        sessions = {
            record.entry: stack.enter_context(record.entry.open(lineup.engine, seed=episode.seed)) for record in records
        }
        video = stack.enter_context(open_video(path, fps=lineup.fps))
        chunk_frames = sessions[records[0].entry].chunk_frames
        for question, answers in answer_side_by_side(sessions, video, episode.questions, batch_frames=chunk_frames):
            for record in records:
                record.verdicts.append(_verdict(index, question, answers[record.entry]))
            yield
        for record in records:
            _look_back(record, sessions[record.entry])
        if index == 0:
            pictures = _first_pictures(path, lineup.fps, chunk_frames)
            times = measure_alone(sessions, _QUERY, pictures, seconds_per_frame=1 / lineup.fps)
            for record in records:
                record.times = times[record.entry]


def _verdict(index: int, question: Question, answer: Answer) -> Verdict:
    right = is_right(answer.text, question.answer)
    return Verdict(index, question, right, answer.held_tokens, answer.memory_bytes)


def _look_back(record: Record, session: Session) -> None:
    record.budget_tokens = session.policy.budget_tokens
    record.ages.append(kept_ages(session.memory).mean(axis=0))


def _first_pictures(path: Path, fps: float, n: int) -> list[NDArray[np.uint8]]:
    with open_video(path, fps=fps) as video:
        return [frame.image_YXC for frame in islice(video, n)]
