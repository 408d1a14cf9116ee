"""Scores of choices from their definition, in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def ways_to_begin(ids: Callable[[str], list[int]], choice: str) -> set[int]:
    """First tokens of the choice as it is and capitalised, alone and after a space; a token that is a space is none."""
    written = [choice, choice[0].upper() + choice[1:]]
    written += [" " + text for text in written]
    return {ids(text)[0] for text in written if ids(text)[0] not in ids(" ")}


def scores(
    logits: Sequence[float], ids: Callable[[str], list[int]], choices: Sequence[str]
) -> tuple[list[float], float]:
    """Probability of each choice given that it is one of them, and the probability that it is one of them."""
    largest = max(logits)
    total = math.fsum(math.exp(logit - largest) for logit in logits)
    begins = {choice: ways_to_begin(ids, choice) for choice in choices}
    masses = []
    for choice in choices:
        shared = {token for other in choices if other != choice for token in begins[other]}
        masses.append(math.fsum(math.exp(logits[token] - largest) / total for token in begins[choice] - shared))
    return [mass / math.fsum(masses) for mass in masses], math.fsum(masses)
