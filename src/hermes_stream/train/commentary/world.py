"""ShapeStream as training data for commentary: long videos of training seeds, and what is said in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hermes_stream.shapestream.commentary import commentary_events, spoken_words
from hermes_stream.shapestream.questions import TASKS, question_at
from hermes_stream.shapestream.render import render_frame
from hermes_stream.shapestream.script import Dice, Script, make_script
from hermes_stream.shapestream.viewpoint import Viewpoint
from hermes_stream.video.writer import write_video

TRANSCRIPTS_FILE = "transcripts.jsonl"
# Instructions out of words that the bundled tokenizers know; most streams get the first, some get none.
INSTRUCTIONS = (*("Describe the events.",) * 5, "Describe the scene.", "Tell me what appears.", "")
_ASKED_TASKS = tuple(name for name, regime in TASKS.items() if regime == "real-time")
_QUESTION_EVERY_SECONDS = (6.0, 18.0)
_SIZES = ((320, 180), *4 * ((192, 108),), *2 * ((160, 120),), *2 * ((128, 128),), (108, 192))
_QUALITY = (18, 23, 28)
_PACES = (1.0, 1.0, 1.0, 0.8, 1.3)


@dataclass(frozen=True, slots=True)
class World:
    """How much of it: `n_videos` of `seconds` each, at `fps`, of seeds from `first_seed` on."""

    n_videos: int
    seconds: float = 600.0
    fps: float = 2.0
    first_seed: int = 200_000


def write_world(world: World, folder: Path, on_video: Callable[[int], None] | None = None) -> Path:
    """Videos and `transcripts.jsonl` in a folder; returns the latter. Videos that are there already stay.

    Sizes, qualities and paces vary by seed. Half of the streams are asked something now and then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TRANSCRIPTS_FILE
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for index in range(world.n_videos):
            file.write(json.dumps(_write_one(world, world.first_seed + index, folder)) + "\n")
            if on_video is not None:
                on_video(index + 1)
    os.replace(part, path)
    return path


def _write_one(world: World, seed: int, folder: Path) -> dict[str, Any]:
    dice = Dice(seed + 5_000_000)
    width, height = dice.choice(_SIZES)
    crf, pace, query = dice.choice(_QUALITY), dice.choice(_PACES), dice.choice(INSTRUCTIONS)
    script = make_script(seed, world.seconds, pace=pace)
    video = folder / f"{seed}.mp4"
    if not video.is_file():
        write_video(video, _frames(script, world.fps, width, height), fps=world.fps, crf=crf)
    words = spoken_words(commentary_events(script, fps=world.fps), fps=world.fps)
    return {
        "video": video.name,
        "content": [[round(word.start_seconds, 4), round(word.end_seconds, 4), word.text] for word in words],
        "query": query,
        "qa_stream": list(_questions(script, world.fps, dice)) if dice.chance(0.5) else [],
        "category": "shapestream",
    }


def _frames(script: Script, fps: float, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    for index in range(round(script.duration_seconds * fps)):
        yield render_frame(script, index / fps, width, height)


def _questions(script: Script, fps: float, dice: Dice) -> Iterator[Sequence[Any]]:
    """Real-time questions, each asked when the newest frame of its second is shown."""
    time = dice.uniform(*_QUESTION_EVERY_SECONDS)
    while time < script.duration_seconds:
        # Answered with the second's frames, the last of which is shown one interval before its end.
        end = float(int(time)) + 1.0
        view = Viewpoint(script, end - 1 / fps, fps)
        question = question_at(view, dice.choice(_ASKED_TASKS), dice)
        if question is not None and end <= script.duration_seconds:
            yield [f"{script.seed}-{end:g}", end, question.question, question.answer]
        time += dice.uniform(*_QUESTION_EVERY_SECONDS)
