"""What a row is in a stream with commentary: its round and its part of it, in one number.

A stream with commentary is prefix, previous text, then one round for each time step: the user's turn with its frames
and the reply. Runs of rows with one number are the stream's segments.

Shape letters: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch

from hermes_stream.memory.token_table import NO_TURN, TokenTable


class Part(IntEnum):
    """Parts of a stream with commentary, in the order in which they stand.

    The first three are the previous text: the words of rounds that are gone. FRAMES are a round's grids with the tokens
    that open and close them; USER_CLOSE holds what was asked in that turn, too. SILENCE is the marker that ends a
    reply's words. REPLY_CLOSE reaches to the next round.
    """

    PREVIOUS_OPEN = 0
    PREVIOUS_WORD = 1
    PREVIOUS_CLOSE = 2
    USER_OPEN = 3
    TIME = 4
    FRAMES = 5
    USER_CLOSE = 6
    REPLY_OPEN = 7
    WORD = 8
    SILENCE = 9
    REPLY_CLOSE = 10


_N_PARTS = 16


def turn_of(round_index: int, part: Part) -> int:
    """The number of a round's part, as the token table holds it."""
    return round_index * _N_PARTS + part


def rounds_of(turn_N: torch.Tensor) -> torch.Tensor:
    """The round of each row; -1 outside commentary."""
    return turn_N.div(_N_PARTS, rounding_mode="floor")


def parts_of(turn_N: torch.Tensor) -> torch.Tensor:
    """The part of each row; -1 outside commentary."""
    return torch.where(turn_N == NO_TURN, turn_N, turn_N.remainder(_N_PARTS))


def turns_of(round_index: int, lengths: Sequence[tuple[Part, int]]) -> torch.Tensor:
    """The numbers of some parts of one round, one after the other: int64 `[N]`."""
    runs = [torch.full((n,), turn_of(round_index, part)) for part, n in lengths]
    return torch.cat(runs) if runs else torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring rows of one part of one round; start counts from the first row of the table."""

    part: Part
    round_index: int
    start: int
    length: int


def segments_of(table: TokenTable) -> list[Segment]:
    """The segments of a table whose heads hold the same rows, in the order in which they stand; others are left out."""
    turn_N, length_N = table.turn_HN[0].unique_consecutive(return_counts=True)
    start_N = length_N.cumsum(0) - length_N
    return [
        Segment(Part(turn % _N_PARTS), turn // _N_PARTS, start, length)
        for turn, start, length in zip(turn_N.tolist(), start_N.tolist(), length_N.tolist(), strict=True)
        if turn != NO_TURN
    ]
