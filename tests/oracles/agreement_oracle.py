"""Agreement of two judges by its definition: a table of what each said, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def share_and_kappa(said: Sequence[tuple[bool, bool]]) -> tuple[Fraction, Fraction | None]:
    """The observed share, and how far it exceeds that of two who say yes as often but blindly."""
    n = len(said)
    both_yes = Fraction(sum(1 for one, other in said if one and other), n)
    both_no = Fraction(sum(1 for one, other in said if not one and not other), n)
    first_yes = Fraction(sum(1 for one, _ in said if one), n)
    second_yes = Fraction(sum(1 for _, other in said if other), n)
    observed = both_yes + both_no
    expected = first_yes * second_yes + (1 - first_yes) * (1 - second_yes)
    return observed, None if expected == 1 else (observed - expected) / (1 - expected)
