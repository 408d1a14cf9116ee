"""Held-back ShapeStream episodes as real video files, their questions, and how well they were answered."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hermes_stream as hs
from hermes_stream.engine.timeline import TimedQuestion
from hermes_stream.shapestream import EVALUATION_SEEDS, Question, make_questions, make_script, write_episode

_Key = TypeVar("_Key")

# 95 %.
_Z = 1.96


def evaluation_seeds(first: int, n_episodes: int) -> range:
    """Seeds that no training has seen."""
    return range(EVALUATION_SEEDS.start + first, EVALUATION_SEEDS.start + first + n_episodes)


def quarter_of_keep_all(engine: hs.Engine, seconds: float) -> int:
    """A quarter of the tokens that a stream of this length makes."""
    grids = round(seconds * engine.defaults.fps) / engine.model.frames_per_grid
    return int(grids * engine.model.tokens_per_frame) // 4


@contextmanager
def episode(
    seed: int, *, seconds: float, fps: float, every_seconds: float
) -> Iterator[tuple[Path, list[TimedQuestion[Question]]]]:
    """An mp4 (24 fps, 640x360) and questions of every regime; the file goes when the block ends."""
    script = make_script(seed, seconds)
    questions = make_questions(script, fps=fps, every_seconds=every_seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "episode.mp4"
        write_episode(script, path, fps=24, width=640, height=360)
        yield path, [TimedQuestion(question.time_s, hs.Query(question.question), question) for question in questions]


def answer_side_by_side(
    sessions: Mapping[_Key, hs.Session], video: hs.Video, questions: Sequence[TimedQuestion[Question]]
) -> Iterator[tuple[Question, dict[_Key, hs.Answer]]]:
    """Every session watches the same frames and is asked the same questions at their times, in common forwards.

    Yields each question with the answer of each session. Times to first token mean nothing here.
    """
    waiting = sorted(questions, key=lambda question: question.time_seconds)
    with ThreadPoolExecutor(len(sessions)) as pool:

        def watch(frames: Sequence[hs.Frame]) -> None:
            list(pool.map(lambda session: session.watch(frames), sessions.values()))

        def ask(question: TimedQuestion[Question]) -> tuple[Question, dict[_Key, hs.Answer]]:
            streams = {name: session.ask(question.query) for name, session in sessions.items()}
            return question.label, {name: stream.result() for name, stream in streams.items()}

        batch: list[hs.Frame] = []
        for frame in video:
            while waiting and waiting[0].time_seconds < frame.pts_seconds:
                watch(batch)
                batch = []
                yield ask(waiting.pop(0))
            batch.append(frame)
        watch(batch)
        for question in waiting:
            yield ask(question)


def score(verdicts: Sequence[bool]) -> dict[str, float]:
    """Share right, its 95 % Wilson interval, and the number of questions."""
    n = len(verdicts)
    p = sum(verdicts) / n
    centre = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
    return {"accuracy": round(p, 4), "low": round(centre - half, 4), "high": round(centre + half, 4), "n": n}


def scores_by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """`score` of the rows' verdicts ("right") for each value of a column."""
    names = sorted({row[key] for row in rows})
    return {name: score([row["right"] for row in rows if row[key] == name]) for name in names}
