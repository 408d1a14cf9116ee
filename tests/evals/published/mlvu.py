"""MLVU's files: one of JSON for each of seven tasks, and the list of the test split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("json/1_plotQA.json", "question")
FILES = {
    "plotQA": ("1_plotQA", "plotQA"),
    "needle": ("2_needle", "findNeedle"),
    "ego": ("3_ego", "ego"),
    "count": ("4_count", "count"),
    "order": ("5_order", "order"),
    "anomaly_reco": ("6_anomaly_reco", "anomaly_reco"),
    "topic_reasoning": ("7_topic_reasoning", "topic_reasoning"),
}
"""Of each task its file's name, and what its records say."""
OPTIONS = ("Blue", "two (2) cups", "1->3->2", "Abuse")
TEST_TASKS = (
    "plotQA", "needleQA", "ego", "count", "order", "anomaly_reco", "topic_reasoning", "tutorialQA", "sportsQA",
)  # fmt: skip
TEST_OPTIONS = (*OPTIONS, "A dog", "nothing")


def rows(task: str) -> list[dict[str, Any]]:
    _, said = FILES[task]
    at = list(FILES).index(task)
    return [
        {
            "video": f"{task}_{number}.mp4",
            "duration": 480.01 + number,
            "question": f"What is number {number} of {task}?",
            "candidates": list(OPTIONS),
            "answer": OPTIONS[(at + number) % 4],
            "question_type": said,
        }
        for number in range(2)
    ]


def of_test(labels: bool = True) -> list[dict[str, Any]]:
    made = [
        {
            "video": f"test_{number}.mp4",
            "duration": 300.0,
            "question": f"What is number {number} of the test?",
            "candidates": list(TEST_OPTIONS),
            "answer": TEST_OPTIONS[number % 6],
            "question_type": task,
            "question_id": f"{task}_{number}",
        }
        for number, task in enumerate(TEST_TASKS)
    ]
    return made if labels else [{name: row[name] for name in row if name != "answer"} for row in made]


def copied(task: str, code: str, letter: bool) -> list[dict[str, Any]]:
    """The rows of a repackaged copy: options stand in the question, and the answer may be a letter."""
    return [
        {
            "video_name": f"{FILES[task][0]}/{row['video']}",
            "duration": row["duration"],
            "question": "\n".join(
                [row["question"], *(f"({'ABCD'[index]}) {text}" for index, text in enumerate(row["candidates"]))]
            ),
            "answer": "ABCD"[row["candidates"].index(row["answer"])] if letter else row["answer"],
            "task_type": code,
        }
        for row in rows(task)
    ]


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "json").mkdir()
    for task, (name, _) in FILES.items():
        (folder / "json" / f"{name}.json").write_text(json.dumps(rows(task)))
        for row in rows(task):
            put_video(folder / "video" / name / row["video"])
    (folder / "test-ground-truth").mkdir()
    (folder / "test-ground-truth" / "test_mcq_gt.json").write_text(json.dumps(of_test()))
    for row in of_test():
        put_video(folder / "video" / row["video"])
