"""A tiny Inf-Streams-Eval in its published format: ShapeStream videos, and what somebody says about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hermes_stream.shapestream import make_script, write_episode

SECONDS = 12
START, SEGMENT = 2, 4
NAMES = ("one.mp4", "two.mp4")


def transcript(seed: int, seconds: int = SECONDS) -> list[list[Any]]:
    """Every half second the colour or the shape of what is to be seen then, or that there is nothing."""
    script = make_script(seed, float(SECONDS))
    words = []
    for half in range(2 * seconds):
        seen = script.presence_at(half / 2)
        word = "nothing" if seen is None else (seen.kind.color, seen.kind.shape)[half % 2]
        words.append([half / 2, half / 2 + 0.4, word])
    return words


def write(folder: Path, seconds: int = SECONDS, words: Sequence[list[list[Any]]] | None = None) -> Path:
    """A data folder with two videos; metadata only, so that segments are cut."""
    (folder / "videos").mkdir(parents=True)
    rows = []
    for index, name in enumerate(NAMES):
        seed = 900_000 + index
        write_episode(make_script(seed, float(SECONDS)), folder / "videos" / name, fps=4, width=96, height=54)
        content = transcript(seed, seconds) if words is None else words[index]
        rows.append({"video": f"/somebody/s/disk/{name}", "content": content})
    write_lines(folder / "eval_all_metadata.jsonl", rows)
    return folder


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
