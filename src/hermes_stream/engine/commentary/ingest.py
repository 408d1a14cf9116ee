"""How a round becomes memory: the last reply and what the policy decides, then the newest frames in their turn.

Runs on the engine's thread only. Shape letters: T tokens, E model width, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from hermes_stream.engine.batch import CommitSegment, Segment
from hermes_stream.engine.commentary.script import Script, embed_ids
from hermes_stream.engine.commentary.state import Commentary
from hermes_stream.engine.gaps import n_before_gap
from hermes_stream.engine.ingest import Piece, chooser_for
from hermes_stream.engine.jobs import WatchJob, Work
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.stream import Signals, Stream
from hermes_stream.errors import InvariantError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.committed_text import TextRows
from hermes_stream.memory.turns import Part, turns_of
from hermes_stream.models.adapter import Clip
from hermes_stream.models.commentary import stand_at
from hermes_stream.types import Frame, VisualTokens


@dataclass(eq=False)
class RoundJob(WatchJob):
    """The frames of one step, which enter together once the reply before them is in. step: its number."""

    step: int = 0

    def next_clip(self) -> Clip | None:
        """All of them; where they are too few for whole grids, at the end or before a gap, the last one stands in."""
        per_grid, left, shown = self.stream.adapter.facts.frames_per_grid, list(self.frames), list[Frame]()
        while left:
            n_joined = n_before_gap(self.stream.gaps, left)
            shown += [*left[:n_joined], *[left[n_joined - 1]] * (-n_joined % per_grid)]
            left = left[n_joined:]
        return Clip(shown, 0.0, len(shown) - len(self.frames)) if shown else None

    def frames_together(self, clip: Clip) -> int:
        return len(clip.frames)

    @property
    def encodes_one_grid(self) -> bool:
        return True

    @property
    def frames_of_grid(self) -> int:
        return len(self.frames)

    @property
    def lacks_partner(self) -> bool:
        return False

    def grid_rows(self) -> list[int]:
        if _commentary_of(self.stream).is_open:
            return [1 + len(_commentary_of(self.stream).reply or ())]
        return [] if self.encoded is None else [self.encoded.n_rows]

    def piece(self, n_grids: int) -> Work:  # noqa: ARG002
        if _commentary_of(self.stream).is_open:
            return ReplyPiece(self.stream)
        return RoundPiece(self.stream, list(self.frames), self.encoded, self.step)

    def arrive(self, n_frames: int, n_grids: int) -> bool:  # noqa: ARG002
        if n_frames:
            self.frames.clear()
            self.encoded = None
        return self.is_over()


class ReplyPiece:
    """The reply of the newest round, which becomes memory; then the policy decides, if it plans rounds.

    Where frames wait outside the text model, so do the words about them.
    """

    n_frames = 0
    n_grids = 1

    def __init__(self, stream: Stream) -> None:
        """Raises LimitError, with nothing changed but a compaction, if it does not fit the positions left."""
        stream.check_running()
        commentary = _commentary_of(stream)
        self._stream, self._commentary = stream, commentary
        text = Script(stream.adapter).reply(commentary.reply)
        self._ids, turn_N = text.ids, text.turn_N(commentary.round_index)
        self._text = TextRows(turn_N, commentary.first_seconds, commentary.last_seconds)
        stream.check_growth(len(self._ids))
        self._pending = None if stream.holds_features else self._begin()

    def _begin(self) -> PendingAppend:
        memory, before = self._stream.memory, self._stream.memory.current
        memory.make_text_room(len(self._ids), reserved_positions(memory.shape.max_positions))
        self._stream.n_changes += memory.current is not before
        return memory.begin_text(self._text)

    def segments(self) -> list[Segment]:
        if self._pending is None:
            return []
        commit = CommitSegment(embed_ids(self._stream.adapter, self._ids), self._pending)
        if self._stream.policy.recalls_at == "always":
            commit.sees = chooser_for(self._stream, self._pending)
        return [commit]

    def give_up(self) -> None:
        if self._pending is not None:
            self._pending.give_up()

    def finish(self) -> None:
        stream = self._stream
        before = dict(stream.__dict__), stream.memory.current
        try:
            self._finish()
        except BaseException:
            stream.__dict__.update(before[0])
            stream.memory.current = before[1]
            raise

    def _finish(self) -> None:
        stream = self._stream
        if self._pending is None:
            stream.memory.commit_text_features(embed_ids(stream.adapter, self._ids), self._text)
        else:
            stream.memory.commit(self._pending)
        stream.n_changes += 1
        stream.interval_tokens += len(self._ids)
        stream.commentary = self._commentary.closed()
        if stream.policy.plans_rounds:
            stream.end_interval(Signals())
        stream.check_growth(0)


class RoundPiece(Piece):
    """The user's turn of a round, as far as its frames reach."""

    _parts_grids = False

    def __init__(self, stream: Stream, frames: Sequence[Frame], encoded: VisualTokens | None, step: int) -> None:
        self._step = step
        super().__init__(stream, frames, encoded)
        self._first_seconds, self._last_seconds = frames[0].pts_seconds, frames[-1].pts_seconds
        # Whoever runs pieces must not part its grids.
        self.n_grids = 1

    def _reduced(self, encoded: VisualTokens) -> tuple[VisualTokens, tuple[Any, ...]]:
        stream = self.stream
        commentary, script = _commentary_of(stream), Script(stream.adapter)
        is_asked_now = commentary.n_rounds == 0 and not stream.policy.pins_instruction
        before = script.before_frames(*commentary.settings.times_of(self._step))
        after = script.after_frames(commentary.settings.instruction if is_asked_now else "")
        relative = _relative(encoded)
        before_TE, after_TE = (embed_ids(stream.adapter, text.ids) for text in (before, after))
        reduced, front_states = stream.reduce(relative)
        # Front-ends may have left nothing of a grid, but its text is still of its time.
        seconds_2 = relative.times_seconds_N[[0, -1]]
        tokens = _in_turn(reduced, before_TE, after_TE, seconds_2)
        parts = [*before.lengths, (Part.FRAMES, reduced.n_rows), *after.lengths]
        if stream.holds_features:
            return tokens, front_states
        return replace(tokens, turn_N=turns_of(commentary.n_rounds, parts)), front_states

    def _finish(self) -> None:
        stream = self.stream
        # Before it, nothing was known of the turn's text.
        stream.n_changes += 1
        stream.commentary = _commentary_of(stream).begun(self._first_seconds, self._last_seconds)
        super()._finish()

    @property
    def _ends_interval(self) -> bool:
        return not self.stream.policy.plans_rounds and super()._ends_interval


def _relative(tokens: VisualTokens) -> VisualTokens:
    """Frames whose positions begin at 0 on each axis, and what follows them one behind the largest."""
    position_RN = stand_at(tokens.positions_RN, 0)
    return replace(tokens, positions_RN=position_RN, n_positions=int(position_RN.max()) + 1)


def _in_turn(
    tokens: VisualTokens, before_TE: torch.Tensor, after_TE: torch.Tensor, seconds_2: torch.Tensor
) -> VisualTokens:
    """The frames of a round with the text around them. seconds_2: of its first and its last grid."""
    n_before, n_after, n = before_TE.shape[0], after_TE.shape[0], tokens.n_rows
    n_axes, end = tokens.positions_RN.shape[0], n_before + tokens.n_positions
    position_RN = n_before + tokens.positions_RN
    is_text_N = torch.zeros(n, dtype=torch.bool) if tokens.is_text_N is None else tokens.is_text_N

    def around(column_N: torch.Tensor, first: Any, last: Any) -> torch.Tensor:
        return torch.cat((column_N.new_full((n_before,), first), column_N, column_N.new_full((n_after,), last)))

    return replace(
        tokens,
        embeddings_NE=torch.cat((before_TE, tokens.embeddings_NE.to(before_TE), after_TE)),
        positions_RN=torch.cat((_run(0, n_before, n_axes), position_RN, _run(end, n_after, n_axes)), dim=1),
        n_positions=end + n_after,
        frame_N=around(tokens.frame_N, 0, tokens.n_grids - 1),
        row_N=around(tokens.row_N, -1, -1),
        column_N=around(tokens.column_N, -1, -1),
        times_seconds_N=around(tokens.times_seconds_N, *seconds_2.tolist()),
        is_text_N=around(is_text_N, True, True),
    )


def _run(start: int, n: int, n_axes: int) -> torch.Tensor:
    return torch.arange(start, start + n).expand(n_axes, -1)


def _commentary_of(stream: Stream) -> Commentary:
    if stream.commentary is None:
        raise InvariantError("a round of a stream that is not narrated")
    return stream.commentary
