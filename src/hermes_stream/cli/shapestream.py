"""`hermes-stream shapestream`: videos with exact ground truth."""

from __future__ import annotations

import math
from pathlib import Path

from cyclopts import App

from hermes_stream.cli.output import progress_bar, say
from hermes_stream.errors import ConfigError

shapestream = App(name="shapestream", help="Make videos of a synthetic world whose every answer is known.")


@shapestream.command
def render(
    *,
    seed: int,
    seconds: float = 60,
    fps: float = 24,
    size: str = "640x360",
    out: Path,
    questions: Path | None = None,
    events: Path | None = None,
    sample_fps: float = 1,
) -> None:
    """Render an episode as a video file, and questions about it or its events as JSON.

    Parameters
    ----------
    seed
        Any integer; seeds from 900000 are kept for evaluation and never trained on.
    seconds
        Length of the episode.
    fps
        Frames per second of the file.
    size
        WIDTHxHEIGHT in pixels.
    out
        The video file; its ending chooses the container.
    questions
        A JSON file of questions with their times and answers.
    events
        A JSON file of what enters, turns and leaves and which room comes: rows {"time_s", "text"}.
    sample_fps
        The rate at which a model will sample the file; questions and events are such as it cannot miss.
    """
    from hermes_stream.shapestream import make_questions, make_script, questions_to_json, write_episode
    from hermes_stream.shapestream.commentary import commentary_events, events_to_json

    width, height = parse_size(size)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"--seconds is {seconds:g}; give a length above 0")
    script = make_script(seed, seconds)
    with progress_bar() as progress:
        task = progress.add_task("rendering", total=None, note="")
        n_frames = write_episode(
            script,
            out,
            fps=fps,
            width=width,
            height=height,
            progress=lambda done, total: progress.update(task, completed=done, total=total, note=f"{done}/{total}"),
        )
    say(f"{out}: {n_frames} frames, {seconds:g} s, {width}x{height}")
    if questions is not None:
        rows = make_questions(script, fps=sample_fps)
        questions.write_text(questions_to_json(rows), encoding="utf-8")
        say(f"{questions}: {len(rows)} questions")
    if events is not None:
        happened = commentary_events(script, fps=sample_fps)
        events.write_text(events_to_json(happened), encoding="utf-8")
        say(f"{events}: {len(happened)} events")


def parse_size(text: str) -> tuple[int, int]:
    """ "640x360" as width and height. Raises ConfigError for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise ConfigError(f"--size is {text!r}; write WIDTHxHEIGHT, as in 640x360")
    return int(width), int(height)
