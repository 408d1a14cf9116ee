"""How well a checkpoint answers through the engine: video files, questions at their times, greedy, exact match."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream.engine.engine import Engine, load_model
from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
from hermes_stream.shapestream.episode import write_episode
from hermes_stream.shapestream.grade import is_right
from hermes_stream.shapestream.questions import TASKS, Question, make_questions
from hermes_stream.shapestream.script import Script, make_script
from hermes_stream.types import Query
from hermes_stream.video.open import open_video

_MAX_NEW_TOKENS = 24
_KEEP_ALL = "keep-all"


@dataclass(frozen=True, slots=True)
class Graded:
    """A question, what the model answered with which memory, and how many tokens of the video that held."""

    memory: str
    question: Question
    answer: str
    held_tokens: int

    @property
    def is_right(self) -> bool:
        """Exact match with the truth."""
        return is_right(self.answer, self.question.answer)


def grade_seeds(
    engine: Engine,
    seeds: Iterable[int],
    memories: Sequence[str] = (_KEEP_ALL,),
    *,
    seconds: float = 64.0,
    every_seconds: float = 3.0,
) -> Iterator[Graded]:
    """Render each seed at 12 fps and 320×180 and ask as many questions of each regime, at the checkpoint's own rate.

    Memories that forget get the checkpoint's own budget.
    """
    fps = engine.defaults.fps
    for seed in seeds:
        script = make_script(seed, seconds)
        questions = [
            TimedQuestion(question.time_s, Query(question.question, max_new_tokens=_MAX_NEW_TOKENS), question)
            for question in _questions_of_every_regime(script, fps, every_seconds)
        ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "episode.mp4"
            write_episode(script, path, fps=12, width=320, height=180)
            for memory in memories:
                budget = None if memory == _KEEP_ALL else engine.defaults.budget_tokens
                with engine.open(memory, budget=budget) as session, open_video(path, fps=fps) as video:
                    for asked, answer in answer_in_time(session, video, questions, batch_frames=session.chunk_frames):
                        yield Graded(memory, asked.label, answer.text, max(answer.held_tokens))


def _questions_of_every_regime(script: Script, fps: float, every_seconds: float) -> Iterator[Question]:
    for regime in sorted(set(TASKS.values())):
        tasks = [task for task in TASKS if TASKS[task] == regime]
        yield from make_questions(script, fps=fps, every_seconds=every_seconds, tasks=tasks)


def accuracy_table(graded: Iterable[Graded]) -> dict[str, Any]:
    """Share of right answers and number of questions, per regime and per task, and the most tokens held."""
    graded = list(graded)
    by_task: dict[str, list[bool]] = defaultdict(list)
    by_regime: dict[str, list[bool]] = defaultdict(list)
    for item in graded:
        by_task[item.question.task].append(item.is_right)
        by_regime[item.question.regime].append(item.is_right)
    held = max((item.held_tokens for item in graded), default=0)
    return {"held_tokens_max": held, "regimes": _shares(by_regime), "tasks": _shares(by_task)}


def evaluate_checkpoint(
    folder: Path, seeds: Iterable[int], memories: Sequence[str] = (_KEEP_ALL, "hermes"), **settings: Any
) -> dict[str, Any]:
    """`accuracy_table` of a checkpoint folder for each memory; settings as for `grade_seeds`."""
    with load_model(str(folder)) as engine:
        graded = list(grade_seeds(engine, seeds, memories, **settings))
    return {memory: accuracy_table(item for item in graded if item.memory == memory) for memory in memories}


def _shares(verdicts: dict[str, list[bool]]) -> dict[str, dict[str, float]]:
    return {
        name: {"accuracy": round(sum(values) / len(values), 4), "n": len(values)}
        for name, values in sorted(verdicts.items())
    }
