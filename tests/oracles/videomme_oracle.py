"""Video-MME's scoring by its definition: letter by letter, without regular expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_TAKEN_AWAY = (
    "The best answer is", "The correct answer is", "The answer is", "The answer",
    # The published list misses two commas; Python joins what stands side by side.
    "The best option isThe correct option is", "Best answer:Best option:",
)  # fmt: skip


def official_accuracy(answered: Sequence[tuple[dict[str, Any], str]]) -> float:
    """Per cent right of the replies in which a letter was found; 0 if there are none."""
    found = [(row["answer"], letter) for row, reply in answered if (letter := _letter(reply))]
    return 100 * sum(answer == letter for answer, letter in found) / len(found) if found else 0


def _letter(reply: str) -> str:
    reply = reply.strip()
    for opening in _TAKEN_AWAY:
        reply = "".join(reply.split(opening))
    for character in reply:
        if character in "ABCD":
            return character
    return ""
