"""MVBench's files: one of JSON for each of 20 tasks; mp4, webm, gif and pictures; parts of videos, 2 to 5 options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.evals.published import Damage, PutVideo
from tests.evals.published.media import put_gif, put_pictures, put_webm

DAMAGE = Damage("json/action_sequence.json", "question")
PLACES = {
    "action_sequence": "star/Charades_v1_480",
    "action_prediction": "star/Charades_v1_480",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation",
    "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}
OPTIONS = ("He sits.", "He runs.", "The ring is red", "two", "Nothing. Really")
WITH_PART = {"action_sequence", "action_prediction", "object_interaction", "action_localization", "episodic_reasoning"}
PICTURES = "castle_s01e01_seg02_clip_00"


def name_of(task: str) -> str:
    return {"action_antonym": "x_1.webm", "egocentric_navigation": "x_1.gif", "episodic_reasoning": PICTURES}.get(
        task, "x_1.mp4"
    )


def rows(task: str) -> list[dict[str, Any]]:
    """Two of the first task, one of each other; later tasks have fewer options."""
    at = list(PLACES).index(task)
    made = []
    for number in range(2 if at == 0 else 1):
        options = list(OPTIONS[: 5 - at % 4])
        row: dict[str, Any] = {
            "video": name_of(task),
            "question": f"What happens {number} times in {task}?",
            "candidates": options,
            "answer": options[(at + number) % len(options)],
        }
        if task in WITH_PART:
            row |= {"start": 1.0, "end": 5.5, "accurate_start": 2.0, "accurate_end": 3.25}
        if task == "episodic_reasoning":
            row |= {"fps": 3, "subtitle": "Castle: Look at that.\n"}
        made.append(row)
    return made


def write(folder: Path, put_video: PutVideo) -> None:
    (folder / "json").mkdir()
    for task, place in PLACES.items():
        (folder / "json" / f"{task}.json").write_text(json.dumps(rows(task)))
        path = folder / "video" / place / name_of(task)
        if path.suffix == ".webm":
            put_webm(path, put_video)
        elif path.suffix == ".gif":
            put_gif(path, put_video)
        elif not path.suffix:
            put_pictures(path, put_video, n_pictures=24)
        elif not path.exists():
            put_video(path)
