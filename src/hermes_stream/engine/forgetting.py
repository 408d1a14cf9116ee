"""Times that a stream forgets: all that it holds of the frames that were shown then. On the engine's thread only."""

from __future__ import annotations

from dataclasses import dataclass

from hermes_stream.engine.as_of import forget_in_state
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import UsageError
from hermes_stream.memory.removal import Removal, bank_without, shown_within
from hermes_stream.memory.token_table import TokenKind


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `Session.forget` removed, and what it cannot.

    n_vision_rows, n_text_rows, n_summaries: rows of keys and values, over all layers (and heads, where these hold
        different ones); a summary, or any row that was made of others, goes if a forgotten frame may be in it.
    n_other_rows: rows of other frames that went along, because all heads of a layer hold as many.
    n_archived_rows: over all layers. n_features: tokens that waited outside the text model.
    n_frames: pictures that waited for a partner, or were on their way. n_turns: remembered questions, all of them.
    remains: in words, what of the frames may still be somewhere.
    """

    start_seconds: float
    end_seconds: float
    n_vision_rows: int
    n_text_rows: int
    n_summaries: int
    n_other_rows: int
    n_archived_rows: int
    n_features: int
    n_frames: int
    n_turns: int
    remains: tuple[str, ...]


def check_times(start_seconds: float, end_seconds: float) -> None:
    """Raise UsageError for times that do not follow each other, or are none."""
    if not start_seconds < end_seconds:
        raise UsageError(f"forget from {start_seconds} s to {end_seconds} s; expected seconds, the end later")


def forget_times(
    stream: Stream, start_seconds: float, end_seconds: float, *, n_on_their_way: int = 0, n_answers: int = 0
) -> Forgotten:
    """Remove all that is held of frames shown in `[start, end)`; with an error nothing is.

    n_on_their_way: frames of then that had not come in, and will not. n_answers: under way, which pin what they see.
    """
    check_times(start_seconds, end_seconds)
    n_waiting, n_turns = len(stream.waiting), len(stream.history)
    frames = stream.seen.grids_within(start_seconds, end_seconds)
    before = dict(stream.__dict__), stream.memory.current
    try:
        removal = _take_out(stream, start_seconds, end_seconds, frames)
    except BaseException:
        stream.__dict__.update(before[0])
        stream.memory.current = before[1]
        raise
    # Bytes in a file are overwritten when nobody holds them any more.
    del before
    if removal.archive_rows and stream.memory.store is not None:
        stream.memory.store.flush()
    stream.check_growth(0)
    return Forgotten(
        start_seconds,
        end_seconds,
        n_vision_rows=removal.rows_by_kind.get(TokenKind.VISION, 0),
        n_text_rows=removal.rows_by_kind.get(TokenKind.TEXT, 0),
        n_summaries=removal.rows_by_kind.get(TokenKind.SUMMARY, 0),
        n_other_rows=removal.more_rows,
        n_archived_rows=removal.archive_rows,
        n_features=removal.features,
        n_frames=n_waiting - len(stream.waiting) + n_on_their_way,
        n_turns=n_turns,
        remains=_remains(stream, frames, n_answers),
    )


def _take_out(stream: Stream, start_seconds: float, end_seconds: float, frames: range) -> Removal:
    is_gone = shown_within(start_seconds, end_seconds)
    removal = stream.memory.remove(is_gone, forgets=True)
    stream.history = ()
    stream.waiting = tuple(frame for frame in stream.waiting if not start_seconds <= frame.pts_seconds < end_seconds)
    if stream.commentary is not None:
        stream.commentary = stream.commentary.without(start_seconds, end_seconds)
    if stream.encoded is not None:
        stream.encoded = bank_without(stream.encoded, is_gone)
    if frames or not removal.is_empty:
        stream.state = forget_in_state(stream, removal, frames)
        # They remember the newest grid, or the last tokens of all cells: the next grid is whole, as the first one is.
        stream.front_states = (None,) * len(stream.front_states)
        stream.n_changes += 1
    return removal


def _remains(stream: Stream, frames: range, n_answers: int) -> tuple[str, ...]:
    remains = ["forks, snapshots and files that were made before are not changed"]
    if n_answers:
        remains.append(f"{n_answers} answers that are being given see the frames until they end")
    if frames:
        remains.append("when frames were shown, and how many, is still known")
        remains.append("which other rows were kept was decided with these frames in view")
        remains.append("memory that was given back is overwritten when it is used again, not before")
    if frames and frames.stop < stream.memory.current.grids_seen:
        remains.append("rows of later frames were computed while they saw these frames")
    return tuple(remains)
