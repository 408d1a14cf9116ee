"""Seconds a question: one pass over a video for all its questions, against watching the prefix anew for each.

    python benchmarks/single_pass.py --seconds 64 --every 1 --episodes 2

Both ways take turns on each episode, in changing order, on the same engine; the second asks every `--of`-th question
only. The answers of both are compared. Prints a line for each memory; writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Any

import record

from hermes_stream.evals.asking import Asker, Due
from hermes_stream.evals.episodes import episode_seeds
from hermes_stream.evals.lineup import Entry, Lineup, make_entries
from hermes_stream.evals.one_pass import Clip, OnePass, clips_of
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.evals.tasks.shapestream import ShapeStream
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import split_policies
from hermes_stream.shapestream import EVALUATION_SEEDS
from hermes_stream.types import Frame

Timed = tuple[dict[str, str], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-llava-onevision")
    parser.add_argument("--memory", default="hermes,sliding-window,recent-frames(frames=4)")
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=64)
    parser.add_argument("--every", type=float, default=1)
    parser.add_argument("--of", type=int, default=4)
    parser.add_argument("--name", default="single-pass")
    arguments = parser.parse_args()
    with Lineup(load_adapter(arguments.model)) as lineup:
        lineup.enter(make_entries(split_policies(arguments.memory), [arguments.budget]), arguments.seconds)
        seeds = episode_seeds(EVALUATION_SEEDS.start, arguments.episodes)
        task = ShapeStream(seeds=seeds, seconds=arguments.seconds, every_seconds=arguments.every, fps=lineup.fps)
        rows = measure(lineup, task, arguments.of)
    for row in rows:
        print(row)
    print(record.save(arguments.name, vars(arguments), rows))


def measure(lineup: Lineup, task: ShapeStream, every_nth: int) -> list[dict[str, Any]]:
    """One row for each memory: medians over the episodes."""
    videos = list(dict.fromkeys(item.video for item in task.load().items))
    found: dict[Entry, list[dict[str, Any]]] = {entry: [] for entry in lineup.entries}
    items = task.load().items
    for number, video in enumerate(videos):
        (clip,) = clips_of(task, [item for item in items if item.video == video])
        with task.video_file(Path(), video) as path:
            for entry in lineup.entries:
                found[entry].append(_compare(lineup, task, entry, path, clip, every_nth, turned=number % 2 == 1))
    return [_row(entry, of_entry) for entry, of_entry in found.items()]


def _compare(
    lineup: Lineup, task: ShapeStream, entry: Entry, path: Path, clip: Clip, every_nth: int, *, turned: bool
) -> dict[str, Any]:
    some = clip.dues[::every_nth]
    ways = [lambda: _in_one_pass(lineup, task, entry, path, clip), lambda: _anew(lineup, task, entry, path, clip, some)]
    results = [way() for way in (reversed(ways) if turned else ways)]
    (once, once_seconds), (anew, anew_seconds) = reversed(results) if turned else results
    return {
        "one_pass_ms": 1000 * once_seconds / len(once),
        "prefix_anew_ms": 1000 * anew_seconds / len(anew),
        "ratio": (anew_seconds / len(anew)) / (once_seconds / len(once)),
        "questions": len(once),
        "asked_anew": len(anew),
        "same_answers": sum(once[key] == text for key, text in anew.items()) / len(anew),
    }


def _in_one_pass(lineup: Lineup, task: ShapeStream, entry: Entry, path: Path, clip: Clip) -> Timed:
    began = time.perf_counter()
    with clip.open(path, lineup.fps) as frames, entry.open(lineup.engine) as session:
        one_pass = OnePass(
            SideBySide({entry: session}),
            {entry: Asker(session, task)},
            batch_frames=session.chunk_frames,
            fps=lineup.fps,
        )
        given = {one.ask.key: one.reply.text for answers in one_pass.run(frames, clip) for _, one in answers}
    return given, time.perf_counter() - began


def _anew(lineup: Lineup, task: ShapeStream, entry: Entry, path: Path, clip: Clip, dues: Sequence[Due]) -> Timed:
    began, given = time.perf_counter(), {}
    for due in dues:
        with clip.open(path, lineup.fps) as frames, entry.open(lineup.engine) as session:
            session.watch(_until(frames, due.seconds))
            (one,) = Asker(session, task).ask([due])
            given[one.ask.key] = one.reply.text
    return given, time.perf_counter() - began


def _until(frames: Iterable[Frame], seconds: float) -> Iterator[Frame]:
    return takewhile(lambda frame: frame.pts_seconds <= seconds, frames)


def _row(entry: Entry, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "memory": str(entry),
        **{name: round(median(each[name] for each in found), 3) for name in ("one_pass_ms", "prefix_anew_ms", "ratio")},
        "questions": sum(each["questions"] for each in found),
        "asked_anew": sum(each["asked_anew"] for each in found),
        "same_answers": round(sum(each["same_answers"] for each in found) / len(found), 4),
    }


if __name__ == "__main__":
    main()
