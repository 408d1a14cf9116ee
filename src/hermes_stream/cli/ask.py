"""`hermes-stream ask`: a video in, questions at their times, answers out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.output import answer_row, human_bytes, progress_bar, put_json, say, settings_line
from hermes_stream.defaults import DEFAULT_MEMORY, DEFAULT_MODEL
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.engine.engine import Engine
    from hermes_stream.engine.session import Session
    from hermes_stream.engine.timeline import TimedQuestion
    from hermes_stream.types import Frame
    from hermes_stream.video import Video


def ask(
    source: str,
    /,
    *,
    question: Annotated[list[str], Parameter(negative="")],
    model: str = DEFAULT_MODEL,
    memory: str = DEFAULT_MEMORY,
    budget: str | None = None,
    fps: float | None = None,
    chunk: int | None = None,
    dtype: str | None = None,
    remember: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Watch a video and answer questions, each from what was seen up to its time.

    Parameters
    ----------
    source
        A file, or the URL of a stream.
    question
        "SECONDS=TEXT", or "end=TEXT"; may be repeated.
    model
        A bundled model, a checkpoint folder or a hub id; see hermes-stream models.
    memory
        A policy with options, as in "hermes(reindex=eager)"; see hermes-stream policies.
    budget
        Tokens per layer, or bytes over all layers as in 16MiB. Default: the model's.
    fps
        Frames per second to look at. Default: the model's.
    chunk
        Frames between two compressions. Default: the model's.
    dtype
        float32, bfloat16 or float16.
    remember
        Let each question and its answer guide what is kept afterwards.
    json
        Print one JSON object per answer.
    """
    from hermes_stream.engine.timeline import answer_in_time

    questions = [parse_question(text) for text in question]
    check_fps(fps)
    with open_session(source, model, memory, budget, fps, chunk, dtype) as (engine, session, video, batch):
        frames = with_progress(video)
        for asked, answer in answer_in_time(session, frames, questions, batch_frames=batch, remember=remember):
            if math.isfinite(asked.time_seconds) and asked.time_seconds > answer.time_seconds + 1 / (
                fps or engine.defaults.fps
            ):
                say(f"note: asked at {asked.time_seconds:g} s, but the last frame seen is at {answer.time_seconds:g} s")
            if json:
                put_json(answer_row(asked.query.text, answer, session.policy.name))
            else:
                held = f"{max(answer.held_tokens)} tokens, {human_bytes(answer.memory_bytes)}"
                print(f"[{answer.time_seconds:7.1f} s] {asked.query.text}")
                print(f"            {answer.text}   ({answer.ttft_seconds * 1000:.0f} ms; {held})", flush=True)
        report_damage(video)


def parse_question(text: str) -> TimedQuestion[None]:
    """ "12.5=What is it?" or "end=What was first?". Raises ConfigError for anything else."""
    from hermes_stream.engine.timeline import TimedQuestion
    from hermes_stream.types import Query

    moment, separator, words = text.partition("=")
    try:
        seconds = math.inf if moment.strip().casefold() == "end" else float(moment)
    except ValueError:
        separator = ""
        seconds = 0.0
    if not separator or not words.strip() or math.isnan(seconds) or seconds < 0:
        raise ConfigError(f'cannot read the question {text!r}; write "SECONDS=TEXT" or "end=TEXT"')
    return TimedQuestion(seconds, Query(words.strip()), None)


def check_fps(fps: float | None) -> None:
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise ConfigError(f"--fps is {fps}; give a number above 0")


@contextmanager
def open_session(
    source: str,
    model: str,
    memory: str,
    budget: str | None,
    fps: float | None,
    chunk: int | None,
    dtype: str | None,
) -> Iterator[tuple[Engine, Session, Video, int]]:
    """Video, model and stream, checked in the order in which mistakes are cheap; closes all of them."""
    from hermes_stream.engine.engine import load_model
    from hermes_stream.policies.spec import parse_memory
    from hermes_stream.video import Video, open_source

    parse_memory(memory)
    with ExitStack() as stack:
        opened = stack.enter_context(open_source(source))
        engine = stack.enter_context(load_model(model, dtype=dtype))
        session = stack.enter_context(engine.open(memory, budget=budget, chunk=chunk))
        rate = engine.defaults.fps if fps is None else fps
        video = stack.enter_context(Video(opened, fps=rate))
        say(settings_line(engine, session, rate))
        yield engine, session, video, session.chunk_frames


def with_progress(video: Video) -> Iterator[Frame]:
    """The video's frames, with a bar where somebody looks."""
    duration = video.info.duration_seconds
    with progress_bar() as progress:
        task = progress.add_task("watching", total=duration, note="")
        for n_frames, frame in enumerate(video, 1):
            progress.update(task, completed=frame.pts_seconds, note=f"{frame.pts_seconds:.0f} s, {n_frames} frames")
            yield frame


def report_damage(video: Video) -> None:
    """Say what could not be read, and what a live source had to drop."""
    if video.damage.is_damaged:
        say(f"warning: {video.damage.summary}")
    if video.n_dropped:
        say(f"warning: {video.n_dropped} frames came faster than they were watched and were dropped")
