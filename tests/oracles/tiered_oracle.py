"""What the tiered memory holds, from its definition: token by token, from all that was ever seen."""

from __future__ import annotations

from collections.abc import Sequence

Token = tuple[int, int, int]


def place(frame: int, row: int, column: int) -> float:
    """A token's number for life: irrational steps over frames, rows and columns, without whole parts."""
    golden = (5**0.5 - 1) / 2
    plastic = ((9 + 69**0.5) / 18) ** (1 / 3) + ((9 - 69**0.5) / 18) ** (1 / 3)
    return (frame * golden + row / plastic + column / plastic**2) % 1


def tiers(
    tokens: Sequence[Token], budget: int, *, n_exact: int, exact_bytes: int, compressed_bytes: int, near: float
) -> tuple[list[int], list[int]]:
    """Numbers of the tokens (frame, row, column; oldest first) that are compressed, and of those that are exact.

    exact_bytes, compressed_bytes: of one row.
    """
    everything = list(range(len(tokens)))
    if len(tokens) <= budget:
        return [], everything
    n_exact = min(n_exact, budget // 2)
    exact, past = everything[len(tokens) - n_exact :], everything[: len(tokens) - n_exact]
    room = (budget - n_exact) * exact_bytes // compressed_bytes
    n_near = min(int(near * room), len(past))
    newest, older = past[len(past) - n_near :], past[: len(past) - n_near]
    spread = sorted(older, key=lambda number: place(*tokens[number]))[: room - n_near]
    return sorted([*newest, *spread]), exact
