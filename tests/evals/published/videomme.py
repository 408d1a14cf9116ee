"""Video-MME's table, as rows of JSON: three questions to each of three videos, one of every length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("videomme/test.json", "question")
TASKS = ("Counting Problem", "Object Recognition", "Temporal Reasoning")
VIDEOS = (("901", "short", "abcDEF12345"), ("902", "medium", "ghi-JKL6789"), ("903", "long", "_mnoPQR0000"))


def rows() -> list[dict[str, Any]]:
    return [
        {
            "video_id": video_id,
            "duration": length,
            "domain": "Knowledge",
            "sub_category": "Geography",
            "url": "-",
            "videoID": file_name,
            "question_id": f"{video_id}-{number + 1}",
            "task_type": task,
            "question": f"What is number {number} of {video_id}?",
            "options": ["A. red ring.", "B. blue ring.", "C. two.", "D. C. Grant."],
            "answer": "ABCD"[(number + len(length)) % 4],
        }
        for video_id, length, file_name in VIDEOS
        for number, task in enumerate(TASKS)
    ]


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "videomme").mkdir()
    (folder / "videomme" / "test.json").write_text(json.dumps(rows()))
    for _, _, file_name in VIDEOS:
        put_video(folder / "data" / f"{file_name}.mp4")
