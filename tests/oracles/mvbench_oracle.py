"""MVBench's scoring by its definition: whether one text occurs in the other, searched place by place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def official_accuracies(answered: Sequence[tuple[str, dict[str, Any], str]]) -> dict[str, float]:
    """answered: task, record, reply. Per cent by task, and "Avg" over all questions."""
    right: dict[str, list[bool]] = {}
    for task, record, reply in answered:
        right.setdefault(task, []).append(is_right(record, reply))
    of_task = {task: 100 * sum(each) / len(each) for task, each in right.items()}
    every = [one for each in right.values() for one in each]
    return {**of_task, "Avg": 100 * sum(every) / len(every)}


def is_right(record: dict[str, Any], reply: str) -> bool:
    place = -1
    for index, option in enumerate(record["candidates"]):
        if option == record["answer"]:
            place = index
    wanted = "(" + ("abcde"[place] if place >= 0 else "@") + ")"
    line = reply.strip()
    line = line[: line.index("\n")] if "\n" in line else line
    word = ""
    for character in "(" + line.lower():
        if character == " ":
            break
        word += character
    without_stops = "".join(character for character in word if character != ".")
    return _occurs(without_stops, wanted) or _occurs(wanted, word)


def _occurs(short: str, long: str) -> bool:
    return any(long[start : start + len(short)] == short for start in range(len(long) - len(short) + 1))
