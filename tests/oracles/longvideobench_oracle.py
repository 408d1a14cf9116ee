"""How lmms-eval reads a reply to LongVideoBench, by its definition; and what its guesses bring in the mean."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

_TAKEN_AWAY = (
    "The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is",
    "The correct option is", "Best answer:", "Best option:",
)  # fmt: skip


def letter(reply: str) -> str:
    """Empty where the script would guess."""
    reply = reply.strip()
    for opening in _TAKEN_AWAY:
        reply = "".join(reply.split(opening))
    return next((character for character in reply if character in "ABCDE"), "")


def accuracy(answered: Sequence[tuple[dict[str, Any], str]]) -> Fraction:
    """Where a reply that cannot be read is wrong."""
    right = sum("ABCDE"[row["correct_choice"]] == letter(reply) for row, reply in answered)
    return Fraction(right, len(answered))


def accuracy_with_guesses(answered: Sequence[tuple[dict[str, Any], str]]) -> Fraction:
    """What the script's random letters bring in the mean."""
    total = Fraction(0)
    for row, reply in answered:
        said = letter(reply)
        total += Fraction(1, len(row["candidates"])) if not said else int(said == "ABCDE"[row["correct_choice"]])
    return total / len(answered)
