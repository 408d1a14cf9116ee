"""StreamingBench's four lists: entries of one or more questions, dialogues in lists of their own, requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes_stream.evals.item import Ask, Item
from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("questions_real.json", "question", keys=(0, "questions"), index="0, questions 1")
LETTERED = ("A. One.", "B. Two.", "C. Three.", "D. Four.")
BARE = ("2.", "6.", "7.", "4.")
BROKEN = (
    "A. He says: 'I can",
    "still run.'",
    "B. He sits.",
    "",
    "C. He turns.",
    "D. He runs.",
    "D. He stands.",
    "F. .",
)


def question(task: str, text: str, stamp: str, answer: str, options: tuple[str, ...] = LETTERED) -> dict[str, Any]:
    return {"task_type": task, "question": text, "time_stamp": stamp, "answer": answer, "options": list(options),
            "required_ability": "working memory"}  # fmt: skip


def request(text: str, stamp: str, moment: str, output: str) -> dict[str, Any]:
    return {"task_type": "Proactive Output", "question": text, "time_stamp": stamp, "ground_truth_time_stamp": moment,
            "ground_truth_output": output, "required_ability": "working memory"}  # fmt: skip


def entry(video: str, *questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"time": "[0:00:00 - 0:00:08]", "questions": list(questions), "video_categories": "cooking",
            "video_path": f"./videos/{video}.mp4", **more}  # fmt: skip


REAL = [
    entry(
        "sample_9001_real",
        question("Counting", "How many cups stand on the table right now?", "00:00:06", "B"),
        question("Causal Reasoning", "Why did it move just now?", "0:00:03", "C")
        | {"cause": "wind", "effect": "moves"},
        captions="[0:00:00 - 0:00:04]: two cups are put down.",
    ),
    entry("sample_9002_real", question("Counting", "How many cups are red now?", "00:00:8", "A")),
    entry("sample_9001_real", question("Object Recognition", "What is in the middle?", "00:00:02", "D")),
]
OMNI = [
    entry("sample_9003_Scene_Understanding_1-25",
          question("Scene Understanding", "What goes on?", "00:00:05", "D", BROKEN)),
    entry("sample_9004_Anomaly_Context_Understanding",
          question("Anomaly Context Understanding", "What is odd?", "00:00:04", "A")),
]  # fmt: skip
_SQA = "Sequential Question Answering"
DIALOGUES = [
    [
        entry("sample_9005_sqa", question(_SQA, "Who serves now?", "00:00:02", "A", BARE),
              question(_SQA, "Who is that in the last question?", "00:00:04", "C", BARE)),
        entry("sample_9005_sqa", question(_SQA, "And the other one?", "00:00:07", "B")),
    ]
]  # fmt: skip
PROACTIVE = [
    entry("sample_9006_proactive", request('When the ring turns red, output "Red".', "00:00:01", "00:00:04", "Red")),
    entry("sample_9006_proactive", request('When it stops, output "It stops".', "0:00:02", "0:00:08", "It stop s")),
]
FILES: dict[str, list[Any]] = {
    "questions_real.json": REAL,
    "questions_omni.json": OMNI,
    "questions_sqa.json": DIALOGUES,
    "questions_proactive.json": PROACTIVE,
}


def entries_of(rows: list[Any]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield from entries_of(row) if isinstance(row, list) else (row,)


def questions_of(name: str) -> list[dict[str, Any]]:
    """All of a file, in its order."""
    return [question for each in entries_of(FILES[name]) for question in each["questions"]]


def perfect(item: Item, ask: Ask) -> str:
    if item.split != "proactive" or ask.part:
        return item.truth
    assert item.gold is not None
    return "Yes" if ask.seconds >= item.gold.facts["seconds"] else "No"


def write(folder: Path, put_video: PutVideo) -> None:
    for name, rows in FILES.items():
        (folder / name).write_text(json.dumps(rows))
        for video in {each["video_path"] for each in entries_of(rows)}:
            put_video(folder / video)
