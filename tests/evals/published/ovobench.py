"""OVO-Bench's one list: every task, floats and whole numbers as times, answers that are not literally an option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hermes_stream.evals.item import Ask, Item
from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("ovo_bench_new.json", "task", at=0, n_lost=2)
VIDEOS = ("Ego4D/clips/e.mp4", "COIN/c.mp4", "MovieNet/m.mp4")
CHOICE_TASKS = ("EPM", "HLD", "ASI", "STU", "OJR", "ATR", "ACR", "OCR", "FPD")
_OPTIONS = {
    "HLD": ["a red ring", "Unable to answer", "a blue star", "two"],
    "ASI": ["puts it down", "turns it", "lifts it", "hides it", "(E)leaves it there"],
    "FPD": ["left", "right"],
    "OCR": ["START", "STOP", "BACK"],
}


def choice_record(number: int, task: str) -> dict[str, Any]:
    options = _OPTIONS.get(task, ["on the shelf", "in the sink", "in the box", "on the chair"])
    place = options.index("Unable to answer") if task == "HLD" else number % len(options)
    return {
        "id": number,
        "task": task,
        "video": VIDEOS[number % 3],
        "realtime": 3 if number % 2 else 2.4 + number / 10,
        "question": f"What of {task} is number {number}?",
        "answer": options[place].upper(),
        "options": options,
        "gt": place,
    }


def forward_records() -> list[dict[str, Any]]:
    return [
        {"id": 1500, "task": "REC", "video": VIDEOS[1], "activity": "jumping over it", "start_times": [1, 4],
         "end_times": [2, 6],
         "test_info": [{"realtime": 2, "count": 1}, {"realtime": 6.5, "count": 2}, {"realtime": 7, "count": 12}]},
        {"id": 1501, "task": "SSR", "video": VIDEOS[1], "tutorial": "MakeTea", "all_steps": ["boil water", "add tea"],
         "start_time": [1, 4], "end_time": [3, 7],
         "test_info": [{"realtime": 2, "step": "boil water", "type": 1},
                       {"realtime": 5, "step": "boil water", "type": 0},
                       {"realtime": 2, "step": "add tea", "type": 0}]},
        {"id": 1502, "task": "CRR", "video": VIDEOS[2], "question": "What does he do to the car?",
         "answer": "He opens it.", "ask_time": 3, "clue_time": 4,
         "test_info": [{"realtime": 3, "type": 0}, {"realtime": 3.5, "type": 0}, {"realtime": 6, "type": 1},
                       {"realtime": 7, "type": 1}, {"realtime": 8, "type": 1}]},
    ]  # fmt: skip


def records() -> list[dict[str, Any]]:
    return [*(choice_record(number, task) for number, task in enumerate(CHOICE_TASKS)), *forward_records()]


def perfect(item: Item, ask: Ask) -> str:
    return item.truth.capitalize() if item.gold is not None and item.gold.kind == "yesno" else item.truth


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "ovo_bench_new.json").write_text(json.dumps(records()))
    for video in VIDEOS:
        put_video(folder / "src_videos" / video)
