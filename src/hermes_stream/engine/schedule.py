"""Which of the work that is ready goes into the next forward: a pure decision, in numbers of rows.

A new question goes before frames, so that its first token waits for no chunk; decode steps ride in every forward.
Frames share what room is left, in whole grids and the stream first that has waited longest, until the forward is full:
a long backlog is served a forward's room at a time, and then stands behind all others.

How long frames wait: each forward with frames carries its room of rows at least, so a stream is served within
ceil(rows ready / room) of them. A forward without frames, for new questions, never follows another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hermes_stream.errors import ConfigError

# Rows that keep a matrix unit busy and take no longer than one who asks may wait: 4,096 rows of a model of 7 billion
# parameters are 62 TFLOP, about 0.1 s on an accelerator of 790 TFLOP/s.
_FORWARD_ROWS = 4096
# Of frames beside answers that are being decoded: each of these rows delays every decode step.
_BESIDE_ANSWERS = {"cpu": 256, "cuda": 1024}


@dataclass(frozen=True, slots=True)
class Limits:
    """A forward takes on grids until it has `n_rows` rows; the last one may pass that by less than itself.

    n_beside_answers: the same for frames' rows in a forward that also carries answers.
    """

    n_rows: int
    n_beside_answers: int

    @staticmethod
    def of(device_type: str, max_forward_tokens: int | None = None) -> Limits:
        """Raises ConfigError for a limit below one row."""
        n_rows = _FORWARD_ROWS if max_forward_tokens is None else max_forward_tokens
        if n_rows < 1:
            raise ConfigError(f"max_forward_tokens is {n_rows}; a forward needs at least 1")
        return Limits(n_rows, min(n_rows, _BESIDE_ANSWERS.get(device_type, _BESIDE_ANSWERS["cpu"])))


@dataclass(frozen=True, slots=True)
class Ready:
    """What could go into the next forward.

    question_rows: of each new question, the oldest first. n_decoding: rows of answers on their way, one for each that
        wants its next token.
    grid_rows: of each grid that a stream has ready, the stream first that has waited longest.
    kept_frames: whether the last forward left frames waiting for the sake of new questions.
    """

    question_rows: Sequence[int]
    n_decoding: int
    grid_rows: Sequence[Sequence[int]]
    kept_frames: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The next forward: all decode steps, the first `n_questions`, and of each stream its first grids."""

    n_questions: int
    n_grids: tuple[int, ...]


def choose(ready: Ready, limits: Limits) -> Choice:
    """The next forward. Something goes wherever something is ready; a stream without grids takes none."""
    return Choice(n_within(ready.question_rows, limits.n_rows), share(ready.grid_rows, frame_room(ready, limits)))


def frame_room(ready: Ready, limits: Limits) -> int:
    """Rows that frames may take of the next forward; 0 where they wait for new questions."""
    if ready.question_rows and not ready.kept_frames:
        return 0
    n_questions = n_within(ready.question_rows, limits.n_rows)
    answer_rows = ready.n_decoding + sum(ready.question_rows[:n_questions])
    room = min(limits.n_rows - answer_rows, limits.n_beside_answers) if answer_rows else limits.n_rows
    return max(room, 1)


def share(grid_rows: Sequence[Sequence[int]], room: int) -> tuple[int, ...]:
    """How many first grids of each stream go, until they have `room` rows; the last one may pass that."""
    n_grids = []
    for rows in grid_rows:
        n_grids.append(n_within(rows, room))
        room -= sum(rows[: n_grids[-1]])
    return tuple(n_grids)


def n_within(rows: Sequence[int], room: int) -> int:
    """How many first items it takes to fill the room, or all."""
    taken = 0
    for n, n_rows in enumerate(rows):
        if taken >= room:
            return n
        taken += n_rows
    return len(rows)
