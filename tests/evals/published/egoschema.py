"""EgoSchema's two tables as rows of JSON: `Subset` with labels, `MC` with all questions and none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo

DAMAGE = Damage("MC/test.json", "question", at=3)
UIDS = ("001934bb-81bd", "00aa7247-9a4b", "0a01d7d0-11d6", "0b4529ef-2a2c", "0bd4a8a4-8b8f")
N_LABELLED = 3
TEXTS = (
    "C washes a brush",
    "C paints. Then C washes the brush",
    "C paints. Then C sleeps.",
    "to clean it",
    "A. Nothing happens",
)


def row(number: int, answer: str | int | None) -> dict[str, Any]:
    return {
        "question_idx": str(number),
        "question": f"Why does C wash the brush, number {number}?",
        "video_idx": UIDS[number],
        "option": [f"{'ABCDE'[index]}. {text}" for index, text in enumerate(TEXTS)],
        "answer": answer,
    }


def labelled() -> list[dict[str, Any]]:
    """Labels are texts and numbers."""
    return [row(number, (str(number + 1), number)[number % 2]) for number in range(N_LABELLED)]


def write(folder: Path, put_video: PutVideo) -> None:
    for name, rows in (("Subset", labelled()), ("MC", [row(number, None) for number in range(len(UIDS))])):
        (folder / name).mkdir()
        (folder / name / "test.json").write_text(json.dumps(rows))
    for number, uid in enumerate(UIDS):
        put_video(folder / "videos" / f"{uid}.{'MP4' if number == 1 else 'mp4'}")
