"""RVS's list of videos with their questions, by the time at which each is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo
from tests.evals.scripted_judge import ScriptedJudge

DAMAGE = Damage("ego/ego4d_oe.json", "video_path", n_lost=2)
ARGUMENTS = {"judge": ScriptedJudge()}


def question(text: str, answer: str, start: float, end: float) -> dict[str, Any]:
    return {"question": text, "answer": answer, "start_time": start, "end_time": end}


def conversations() -> list[list[dict[str, Any]]]:
    return [
        [
            question("Which tool is picked up?", "A red screwdriver.", 0, 3),
            question("Is the ring red?", "Yes.", 1, 3),
            question("Is somebody there?", "No, the room is empty.", 3, 6.5),
            question("Who sits at the table?", "No one.", 3, 6.5),
        ],
        [question("Does the ball roll?", "yes", 0, 4), question("What is cut?", "An onion.", 4, 8)],
    ]


def rows(ending: str, **more: Any) -> list[dict[str, Any]]:
    folder = "ego" if ending == ".mp4" else "movie"
    return [
        {
            "video_id": f"demo-0{number}",
            "video_path": f"data/rvs/{folder}/videos/demo-0{number}{ending}",
            "duration": 8.0,
            "conversations": [{**each, **more} for each in of_video],
        }
        for number, of_video in enumerate(conversations(), start=1)
    ]


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "ego").mkdir()
    (folder / "ego" / "ego4d_oe.json").write_text(json.dumps(rows(".mp4")))
    for number in (1, 2):
        put_video(folder / "ego" / "videos" / f"demo-0{number}.mp4")
