"""`hermes-stream demo`: a fresh video, a bounded memory, questions of every regime, and what was remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal  # noqa: F401 - inherited annotations are evaluated in this file

from cyclopts import Parameter

from hermes_stream.cli.ask import report_damage, with_progress
from hermes_stream.cli.map_recorder import MapRecorder
from hermes_stream.cli.output import answer_row, human_bytes, progress_bar, put_json, say
from hermes_stream.cli.stream_options import StreamOptions, open_stream

if TYPE_CHECKING:
    from hermes_stream.engine.session import Session
    from hermes_stream.shapestream import Question, Script
    from hermes_stream.types import Answer

_N_QUESTIONS = 12
_SECONDS = 75.0
_VIDEO_FPS = 24


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DemoOptions(StreamOptions):
    """Of the bundled models the one that answers best at the speed of a file."""

    model: str = "tiny-qwen2.5-vl"


def demo(
    *,
    seed: int = 900_001,
    out: Path = Path("demo-output"),
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[DemoOptions | None, Parameter(name="*")] = None,
) -> None:
    """Watch a freshly rendered video, answer questions about now, before and by-then, and draw what is remembered.

    Parameters
    ----------
    seed
        Of the episode; every number gives another one.
    out
        Folder for the video, its questions and the picture of the memory.
    json
        Print one JSON object per answer.
    """
    from hermes_stream.engine.timeline import TimedQuestion, answer_in_time
    from hermes_stream.shapestream import is_right, make_script, questions_to_json
    from hermes_stream.types import Query

    options = options or DemoOptions()
    options.check()
    script = make_script(seed, _SECONDS)
    video_path = _render(script, out)
    with open_stream(str(video_path), options) as opened:
        session, video = opened.session, opened.video
        questions = _choose(script, opened.fps)
        (out / "questions.json").write_text(questions_to_json(questions), encoding="utf-8")
        recorder = MapRecorder(opened)
        frames = recorder.watch(with_progress(video))
        timed = [TimedQuestion(question.time_s, Query(question.question), question) for question in questions]
        results: list[tuple[Question, Answer]] = []
        for asked, answer in answer_in_time(session, frames, timed, batch_frames=session.chunk_frames):
            results.append((asked.label, answer))
            if json:
                put_json(_json_row(asked.label, answer, session))
            else:
                _print_answer(asked.label, answer, is_right(answer.text, asked.label.answer))
        report_damage(video)
        _say_summary(results, session)
        _draw(recorder, results, out / "memory.png")


def _render(script: Script, out: Path) -> Path:
    """The episode as a real mp4."""
    from hermes_stream.shapestream import write_episode

    path = out / f"shapestream-{script.seed}.mp4"
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=None, note="")
        write_episode(
            script,
            path,
            fps=_VIDEO_FPS,
            progress=lambda done, total: progress.update(task, completed=done, total=total, note=f"{done} frames"),
        )
    say(f"{path}: {_SECONDS:g} s of ShapeStream, seed {script.seed}")
    return path


def _choose(script: Script, fps: float) -> list[Question]:
    """Questions of all regimes in turn, from the time on at which the memory is full."""
    from hermes_stream.shapestream import make_questions

    late = [
        question for question in make_questions(script, fps=fps, every_seconds=0.5) if question.time_s > _SECONDS / 3
    ]
    by_regime = [[q for q in late if q.regime == regime] for regime in ("real-time", "backward", "forward")]
    per_regime = [_spread(questions, _N_QUESTIONS // 3) for questions in by_regime]
    return sorted((question for questions in per_regime for question in questions), key=lambda q: q.time_s)


def _spread(questions: Sequence[Question], n: int) -> list[Question]:
    """n of them, evenly over time, of as many tasks as there are."""
    by_task: dict[str, list[Question]] = {}
    for question in questions:
        by_task.setdefault(question.task, []).append(question)
    return list(islice(_in_turn(list(by_task.values())), n))


def _in_turn(groups: list[list[Question]]) -> Iterator[Question]:
    queues = [list(group) for group in groups]
    for queue in cycle(queues):
        if not any(queues):
            return
        if queue:
            yield queue.pop(len(queue) // 2)


def _json_row(question: Question, answer: Answer, session: Session) -> dict[str, object]:
    from hermes_stream.shapestream import is_right

    row = answer_row(question.question, answer, session.policy.title)
    truth = {"truth": question.answer, "right": is_right(answer.text, question.answer)}
    return {**row, **truth, "regime": question.regime, "task": question.task, "recall_delay_s": question.recall_delay_s}


def _print_answer(question: Question, answer: Answer, right: bool) -> None:
    tick = "✓" if right else "✗"
    held = f"{max(answer.held_tokens)} tokens a layer, {human_bytes(answer.memory_bytes)}"
    print(f"{tick} {question.time_s:5.1f} s  {question.regime:9}  {question.question}")
    print(f"           {answer.text!r}, truth {question.answer!r}   {answer.ttft_seconds * 1000:.0f} ms · {held}")


def _say_summary(results: Sequence[tuple[Question, Answer]], session: Session) -> None:
    from hermes_stream.shapestream import is_right

    n_right = sum(is_right(answer.text, question.answer) for question, answer in results)
    stats = session.stats
    per_layer = sorted({min(stats.held_tokens), max(stats.held_tokens)})
    held = " to ".join(str(n) for n in per_layer)
    say(
        f"{n_right} of {len(results)} right · {stats.tokens_seen} tokens seen, {held} held by each layer "
        f"({human_bytes(stats.memory_bytes)}) after {stats.n_compressions} compressions"
    )


def _draw(recorder: MapRecorder, results: Sequence[tuple[Question, Answer]], path: Path) -> None:
    from hermes_stream.errors import ConfigError
    from hermes_stream.shapestream import is_right

    for question, answer in results:
        recorder.asked_at(question.time_s, is_right(answer.text, question.answer))
    try:
        recorder.draw_memory(path)
    except ConfigError as error:
        say(f"no picture: {error}")
