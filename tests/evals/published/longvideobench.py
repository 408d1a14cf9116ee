"""LongVideoBench's `lvb_val.json`: lists of options, an index as answer, a video of each length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("lvb_val.json", "question")
LENGTHS = (15, 60, 600, 3600)
CATEGORIES = ("T2E", "S2A", "SSS")
OPTIONS = ("a man in red", "two cups", "Both of them", "He sits.", "N/A is shown")


def rows() -> list[dict[str, Any]]:
    made = []
    for place, length in enumerate(LENGTHS):
        for number, category in enumerate(CATEGORIES):
            options = list(OPTIONS[: 5 - (place + number) % 3])
            made.append(
                {
                    "video_id": f"v{length}",
                    "question": f"What follows number {number} of v{length}?",
                    "question_wo_referring_query": "What follows?",
                    "candidates": options,
                    "correct_choice": (place + number) % len(options),
                    "position": [10, 40],
                    "topic_category": "KH-Knowledge-History",
                    "question_category": category,
                    "level": "L1-Perception",
                    "id": f"v{length}_{number}",
                    "video_path": f"v{length}.mp4",
                    "subtitle_path": f"v{length}_en.json",
                    "duration_group": length,
                    "starting_timestamp_for_subtitles": 0,
                    "duration": length - 0.5,
                    "view_count": 7,
                }
            )
    return made


def as_table(row: dict[str, Any]) -> dict[str, Any]:
    """The same in the table's form, which has five fields for options."""
    options = [*row["candidates"], *["N/A"] * 5][:5]
    return {name: value for name, value in row.items() if name not in ("candidates", "position")} | {
        f"option{index}": option for index, option in enumerate(options)
    }


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "lvb_val.json").write_text(json.dumps(rows()))
    for length in LENGTHS:
        put_video(folder / "videos" / f"v{length}.mp4")
