"""Chunks of commentary and what is learnt of them, word by word from the definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes_stream.models.commentary import CommentaryPrompts
from hermes_stream.train.commentary.records import Record
from hermes_stream.types import TimedWord

FRAMES = "<frames>"


def words_within(words: Sequence[TimedWord], start: float, end: float) -> list[str]:
    """Words that end after `start` and not after `end`."""
    return [word.text for word in words if start + 1e-6 < word.end_seconds <= end + 1e-6]


def longest_pause(words: Sequence[TimedWord]) -> float:
    """Between a word and the next."""
    return max((b.start_seconds - a.end_seconds for a, b in itertools.pairwise(words)), default=0.0)


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is tokenised by itself, or `FRAMES`; is_learnt: whether the loss sees it."""

    text: str
    is_learnt: bool = False


def pieces_of(record: Record, prompts: CommentaryPrompts) -> list[Piece]:
    """The whole chunk as it is written; previous text is not shortened."""
    pieces = [Piece(prompts.opening(record.query)), Piece(prompts.previous_open)]
    pieces += [Piece(f" {word}") for word in record.previous.split()]
    pieces.append(Piece(prompts.previous_close))
    start = record.start_seconds
    while start < record.end_seconds - 0.5:
        if start > record.start_seconds:
            pieces.append(Piece(prompts.turn_end))
        asked = [item for item in record.asked if start + 1e-6 < item.time_seconds <= start + 1 + 1e-6]
        pieces += [Piece(prompts.before_frames(start, start + 1)), Piece(FRAMES)]
        pieces.append(Piece(prompts.after_frames(asked[0].question if asked else "")))
        if asked:
            pieces += [Piece(asked[0].answer, True), Piece(prompts.answer_close, True)]
        pieces += [Piece(f" {word}", True) for word in words_within(record.words, start, start + 1)]
        pieces += [Piece(prompts.silence, True), Piece(prompts.turn_close, True)]
        start += 1
    return pieces


def lay_out(
    pieces: Sequence[Piece],
    token_ids: Callable[[str], Sequence[int]],
    frames: Sequence[tuple[Sequence[int], Sequence[tuple[int, ...]]]],
    n_axes: int,
) -> tuple[list[int], list[int], list[tuple[int, ...]]]:
    """Ids, labels and positions. frames: of each round, ids and positions counted from its own first token."""
    ids: list[int] = []
    labels: list[int] = []
    positions: list[tuple[int, ...]] = []
    remaining = list(frames)
    for piece in pieces:
        start = max((max(position) for position in positions), default=-1) + 1
        if piece.text == FRAMES:
            frame_ids, places = remaining.pop(0)
            ids += frame_ids
            labels += [-100] * len(frame_ids)
            positions += [tuple(start + axis for axis in place) for place in places]
            continue
        new = list(token_ids(piece.text)) if piece.text else []
        ids += new
        labels += new if piece.is_learnt else [-100] * len(new)
        positions += [(start + index,) * n_axes for index in range(len(new))]
    return ids, labels, positions
