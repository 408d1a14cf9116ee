"""OVO-Bench's scoring by its definition, over records as published, each with its replies.

A reply is filed by the record's id, or by id and number of the poll.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REGIMES = {
    "backward": ("EPM", "ASI", "HLD"),
    "realtime": ("OCR", "ACR", "ATR", "STU", "FPD", "OJR"),
    "forward": ("REC", "SSR", "CRR"),
}
Replies = Mapping[tuple[int, int | None], str]


def official_scores(records: Sequence[dict[str, Any]], replies: Replies) -> dict[str, float]:
    """Per cent of each task, each regime, and of the regimes' means: avg2 and avg3."""
    by_task: dict[str, list[int]] = {}
    for record in records:
        for number, poll in enumerate(record.get("test_info", [None])):
            reply = replies[record["id"], None if poll is None else number]
            by_task.setdefault(record["task"], []).append(_is_right(record, poll, reply))
    shown = {task: 100 * sum(rights) / len(rights) for task, rights in by_task.items()}
    for regime, tasks in _REGIMES.items():
        shown[regime] = sum(shown[task] for task in tasks) / len(tasks)
    shown["avg2"] = (shown["realtime"] + shown["backward"]) / 2
    shown["avg3"] = (shown["realtime"] + shown["backward"] + shown["forward"]) / 3
    return shown


def _is_right(record: dict[str, Any], poll: dict[str, Any] | None, reply: str) -> int:
    if poll is None:
        return int("ABCDE"[record["gt"]] in reply)
    if record["task"] == "REC":
        digits = [character for character in reply if character in "0123456789"]
        return int("".join(digits) == str(poll["count"]))
    word = ("No", "Yes")[poll["type"]]
    return int(word in reply or reply == word[0])
