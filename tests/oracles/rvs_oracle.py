"""RVS's numbers by their definition, over what a judge wrote: "pred" and "score" of each answer."""

from __future__ import annotations

from collections.abc import Sequence


def official_numbers(judged: Sequence[tuple[str, float]]) -> tuple[float | None, float]:
    """Share of yes among yes and no, and the mean of scores cut to whole numbers. "pred" may be anything."""
    n_yes = sum("yes" in said.lower() for said, _ in judged)
    n_no = sum("no" in said.lower() and "yes" not in said.lower() for said, _ in judged)
    accuracy = n_yes / (n_yes + n_no) if n_yes + n_no else None
    return accuracy, sum(int(score) for _, score in judged) / len(judged)
