"""Overlap and duels by their definitions: plain recursion, counting by hand, lists of wins."""

from __future__ import annotations

import math
from collections.abc import Sequence


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The textbook's table, cell by cell."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of the shares of either text that the common subsequence covers."""
    if not candidate and not reference:
        return 1.0
    common = longest_common(candidate, reference)
    if common == 0:
        return 0.0
    precision, recall = common / len(candidate), common / len(reference)
    return 2 * precision * recall / (precision + recall)


def bleu(texts: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Of pairs of candidate and reference, with clipped n-grams that are crossed out one by one."""
    product = 1.0
    for order in (1, 2, 3, 4):
        n_found = n_all = 0
        for candidate, reference in texts:
            left = [tuple(reference[i : i + order]) for i in range(len(reference) - order + 1)]
            for i in range(len(candidate) - order + 1):
                n_all += 1
                gram = tuple(candidate[i : i + order])
                if gram in left:
                    left.remove(gram)
                    n_found += 1
        if n_found == 0:
            return 0.0
        product *= n_found / n_all
    n_said, n_wanted = (sum(len(pair[side]) for pair in texts) for side in (0, 1))
    return product**0.25 * (1.0 if n_said > n_wanted else math.exp(1 - n_wanted / n_said))


def duel(replies: Sequence[tuple[str, str] | None]) -> dict[str, float | int | None]:
    """Of replies that are "A", "B" or noise, for (mine, theirs) and (theirs, mine); None where the judge was away."""
    points: list[float] = []
    votes: list[str] = []
    agree: list[bool] = []
    n_noise = 0
    for pair in replies:
        if pair is None:
            continue
        shown_first, shown_second = pair
        # Who stands at the place that the release reads: what is not A is B.
        votes += ["mine" if shown_first == "A" else "theirs", "theirs" if shown_second == "A" else "mine"]
        if {shown_first, shown_second} - {"A", "B"}:
            n_noise += 1
            continue
        winners = [{"A": "mine", "B": "theirs"}[shown_first], {"A": "theirs", "B": "mine"}[shown_second]]
        points.append({("mine", "mine"): 1.0, ("theirs", "theirs"): 0.0}.get((winners[0], winners[1]), 0.5))
        agree.append(winners[0] == winners[1])
    return {
        "rate": sum(points) / len(points) if points else None,
        "official": votes.count("mine") / len(votes) if votes else None,
        "n_wins": points.count(1.0),
        "n_ties": points.count(0.5),
        "n_losses": points.count(0.0),
        "n_unreadable": n_noise,
        "n_unjudged": sum(pair is None for pair in replies),
        "order_agreement": sum(agree) / len(agree) if agree else None,
    }
