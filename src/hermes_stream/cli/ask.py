"""`hermes-stream ask`: a video in, questions at their times, answers out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.map_recorder import MapRecorder, check_can_draw
from hermes_stream.cli.output import answer_row, human_bytes, progress_bar, put_json, say
from hermes_stream.cli.stream_options import Options, StreamOptions, open_stream
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.engine.timeline import TimedQuestion
    from hermes_stream.types import Frame
    from hermes_stream.video import Video


def ask(
    source: str,
    /,
    *,
    question: Annotated[list[str], Parameter(negative="")],
    remember: Annotated[bool, Parameter(negative="")] = False,
    map_folder: Annotated[Path | None, Parameter(name="--map")] = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Options = None,
) -> None:
    """Watch a video and answer questions, each from what was seen up to its time.

    Parameters
    ----------
    source
        A file, or the URL of a stream.
    question
        "SECONDS=TEXT", or "end=TEXT"; may be repeated.
    remember
        Let each question and its answer guide what is kept afterwards.
    map_folder
        Folder for memory.png and patches.png, drawn at the end as by hermes-stream map.
    json
        Print one JSON object per answer.
    """
    from hermes_stream.engine.timeline import answer_in_time

    questions = [parse_question(text) for text in question]
    if map_folder is not None:
        check_can_draw(map_folder)
    with open_stream(source, options or StreamOptions()) as opened:
        session, frames = opened.session, with_progress(opened.video)
        recorder = None if map_folder is None else MapRecorder(opened)
        if recorder is not None:
            frames = recorder.watch(frames)
        batch_frames = session.chunk_frames
        for asked, answer in answer_in_time(session, frames, questions, batch_frames=batch_frames, remember=remember):
            if math.isfinite(asked.time_seconds) and asked.time_seconds > answer.time_seconds + 1 / opened.fps:
                say(f"note: asked at {asked.time_seconds:g} s, but the last frame seen is at {answer.time_seconds:g} s")
            if recorder is not None:
                recorder.asked_at(answer.time_seconds)
            if json:
                put_json(answer_row(asked.query.text, answer, session.policy.title))
            else:
                held = f"{max(answer.held_tokens)} tokens, {human_bytes(answer.memory_bytes)}"
                print(f"[{answer.time_seconds:7.1f} s] {asked.query.text}")
                print(f"            {answer.text}   ({answer.ttft_seconds * 1000:.0f} ms; {held})", flush=True)
        report_damage(opened.video)
        if recorder is not None and map_folder is not None:
            recorder.draw(map_folder)


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
