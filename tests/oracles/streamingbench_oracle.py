"""StreamingBench's scoring by its definition, over questions as published and the replies to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def group_accuracy(answered: Sequence[tuple[dict[str, Any], str]], *, skips_empty: bool) -> float:
    """Per cent of replies that begin with the answer's letter; a dialogue's empty ones are no replies."""
    n_right = n = 0
    for question, reply in answered:
        if not reply and skips_empty:
            continue
        n += 1
        if reply and reply[0] == question["answer"]:
            n_right += 1
    return 100 * n_right / n if n else 0.0


def proactive(request: dict[str, Any], poll: Callable[[int], str], say: Callable[[int], str]) -> tuple[bool, bool]:
    """Whether the time is right, and whether the text is as well. poll, say: the reply at a second of the video."""
    moment = _seconds(request["ground_truth_time_stamp"])
    second = _seconds(request["time_stamp"])
    last_reply = ""
    while second < moment + 4:
        second += 1
        last_reply = poll(second)
        if "yes" in last_reply.lower():
            last_reply = say(second)
            break
    is_in_time = moment - 2 <= second <= moment + 2
    return is_in_time, is_in_time and request["ground_truth_output"] in last_reply


def _seconds(stamp: str) -> int:
    hours, minutes, seconds = stamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
