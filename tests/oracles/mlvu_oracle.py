"""MLVU's scoring by its definition: what stands just before the first closing bracket, or all of the reply."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any


def official(answered: Sequence[tuple[str, dict[str, Any], str]]) -> tuple[dict[str, Fraction], Fraction, Fraction]:
    """answered: task, record, reply. Shares by task, their mean, and the share of all questions."""
    tasks = {task: [is_right(row, reply) for of, row, reply in answered if of == task] for task, _, _ in answered}
    shares = {task: Fraction(sum(right), len(right)) for task, right in tasks.items()}
    return shares, sum(shares.values(), Fraction(0)) / len(shares), Fraction(
        sum(is_right(row, reply) for _, row, reply in answered), len(answered)
    )  # fmt: skip


def is_right(row: dict[str, Any], reply: str) -> bool:
    reply = reply.strip()
    equal = [index for index, option in enumerate(row["candidates"]) if option == row["answer"]]
    gold = "ABCDEF"[equal[-1]] if equal else "nobody's"
    for position, character in enumerate(reply):
        if character == ")":
            return position > 0 and reply[position - 1] == gold
    return reply == gold
