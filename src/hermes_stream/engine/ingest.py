"""How frames become memory: pieces of an interval, with the probes that ride along, and the policy's plan after them.

Runs on the engine's thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar

import torch

from hermes_stream.engine.batch import CommitSegment, DeepStack, ProbeSegment, Segment
from hermes_stream.engine.embedding_probe import embedding_mass
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.probe_text import probe_embeddings
from hermes_stream.engine.recall import Chooser
from hermes_stream.engine.seen import Moment
from hermes_stream.engine.stream import Signals, Stream, check_times
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.features import FeatureBank
from hermes_stream.policies.base import Probe
from hermes_stream.stages import PROBE, stage
from hermes_stream.types import Frame, VisualTokens


class Piece:
    """The frames of one stream that go into the next forward, with the probes that ride along.

    Families that make one grid of several frames leave those without a partner waiting in the stream.
    """

    _parts_grids: ClassVar[bool] = True

    def __init__(self, stream: Stream, frames: Sequence[Frame], encoded: VisualTokens | None = None) -> None:
        """encoded: the first of the frames (after those that wait in the stream), whole grids of one interval, as the
        vision tower makes them; by default as many as may go together are encoded here. As many of them are taken
        as positions are left for.

        Raises LimitError, with nothing changed but a compaction, if they do not fit; SessionError in a stopped session.
        """
        stream.check_running()
        check_times(stream, frames)
        self.stream = stream
        candidates = [*stream.waiting, *frames]
        if encoded is None:
            clip = stream.next_clip(frames, stream.grids_at_once)
            encoded = None if clip is None else stream.embed(clip)
        self._tokens: VisualTokens | None = None
        self._front_states = stream.front_states
        if encoded is not None:
            encoded = self._up_to_compaction(encoded)
        n_encoded = 0 if encoded is None else encoded.n_frames
        self.n_grids = 0 if encoded is None else encoded.n_grids
        # Without a partner: all that is left, if it is less than a grid.
        self._waiting = () if n_encoded else tuple(candidates)
        self.n_frames = (n_encoded or len(candidates)) - len(stream.waiting)
        # A frame that got no partner takes a grid's place in its interval.
        self._interval_frames = stream.interval_frames + self.n_grids * stream.adapter.facts.frames_per_grid
        self._since_seconds = candidates[0].pts_seconds if stream.since_seconds is None else stream.since_seconds
        self._seconds = candidates[max(n_encoded, 1) - 1].pts_seconds
        self._ends_G = [] if encoded is None else encoded.ends_of_grids()
        if self._tokens is not None:
            stream.check_growth(self._tokens.frame_N.numel())
        # What enters the text model now: the same, unless newest frames are held back.
        self._entering: VisualTokens | None = self._tokens
        self._pending: PendingAppend | None = None
        self._probes: list[Probe] = []
        self._segments: dict[str, ProbeSegment] = {}
        self._commit: CommitSegment | None = None
        if self._tokens is not None and stream.policy.ingests == "tokens":
            self._prepare_commit(self._tokens)

    def _up_to_compaction(self, encoded: VisualTokens) -> VisualTokens:
        """The first grids that positions are left for, at least one, after the front-ends.

        Positions are closed up for one grid, never for several, so that when that happens does not depend on which
        frames come together (law 4).
        """
        memory = self.stream.memory
        reserve = reserved_positions(memory.shape.max_positions)
        for n_grids in range(encoded.n_grids, 0, -1):
            some = encoded.grids(0, n_grids)
            self._tokens, self._front_states = self._reduced(some)
            if self.stream.policy.ingests != "tokens":
                break
            # What must find room: with frames that wait, all of them.
            self._standing = memory.waiting_with(self._tokens) if self.stream.held_back else self._tokens
            if not self._parts_grids or memory.has_room(self._standing, reserve):
                break
        return some

    def _reduced(self, encoded: VisualTokens) -> tuple[VisualTokens, tuple[Any, ...]]:
        """What enters of the encoded frames, and the front-ends' states after them."""
        return self.stream.reduce(encoded)

    def segments(self) -> list[Segment]:
        """Empty for policies that hold features only, for frames that are held back and for one without a partner."""
        if self._pending is None or self._entering is None:
            return []
        self._commit = CommitSegment(self._entering.embeddings_NE, self._pending, DeepStack.of([self._entering]))
        policy = self.stream.policy
        if policy.reads_newest and self._ends_interval:
            self._commit.n_read = int((self._entering.frame_N == self._entering.frame_N[-1]).sum())
        if policy.recalls_at == "always":
            self._commit.sees = chooser_for(self.stream, self._pending)
        return [self._commit, *self._segments.values()]

    def give_up(self) -> None:
        """Its forward has failed."""
        if self._pending is not None:
            self._pending.give_up()

    def finish(self) -> None:
        """After the forward: commit, and compress if the interval is over. A policy that fails leaves no trace."""
        before = dict(self.stream.__dict__), self.stream.memory.current
        try:
            self._finish()
        except BaseException:
            self.stream.__dict__.update(before[0])
            self.stream.memory.current = before[1]
            raise

    def _finish(self) -> None:
        stream, n_changes = self.stream, self.stream.n_changes
        if self._pending is not None:
            # Frames that leave those held back are seen as rows from now on.
            stream.n_changes += stream.held_back > 0
            stream.memory.commit(self._pending)
        elif self._tokens is not None:
            stream.memory.commit_features(self._tokens, self._seconds)
        stream.since_seconds = self._since_seconds
        stream.front_states = self._front_states
        stream.waiting = self._waiting
        stream.interval_frames = self._interval_frames
        stream.interval_tokens += 0 if self._tokens is None else self._tokens.embeddings_NE.shape[0]
        if stream.policy.needs_features and self._tokens is not None:
            version = stream.memory.current
            first_frame = version.grids_seen - self._tokens.n_grids
            bank = stream.encoded or FeatureBank.empty(version.shape)
            stream.encoded = bank.append(self._tokens, version.shape, first_frame=first_frame, first_identity=0)
        if self._ends_interval:
            stream.end_interval(self._signals())
        if self._tokens is not None:
            stream.seen = stream.seen.append(self._tokens.seconds_of_grids(), self._moments(self._tokens, n_changes))
        stream.check_growth(0)

    def _moments(self, tokens: VisualTokens, n_changes: int) -> list[Moment]:
        """What there was after each of the grids: after the last one what is now, before it what would have been.

        n_changes: of the stream before this piece came in.
        """
        stream, version = self.stream, self.stream.memory.current
        before, clocks = stream.seen.newest, [(version.next_position, version.grid_end)] * tokens.n_grids
        if self._pending is not None and not stream.held_back:
            clocks[:-1] = self._pending.base.clocks_after(self._entering or tokens, self._ends_G)[:-1]
        changes = [n_changes] * (tokens.n_grids - 1) + [stream.n_changes]
        n_frames = [tokens.n_frames * (index + 1) // tokens.n_grids for index in range(tokens.n_grids)]
        n_tokens = list(accumulate(tokens.counts_of_grids()))
        return [
            Moment(
                before.frames + n_frames[index], before.grids + index + 1, before.tokens + n_tokens[index],
                *clocks[index], changes[index],
            )
            for index in range(tokens.n_grids)
        ]  # fmt: skip

    def _signals(self) -> Signals:
        """What probes and the newest frame attended to, once the interval is committed."""
        adapter, version = self.stream.adapter, self.stream.memory.current
        segments = self._segments
        mass = {name: segment.mass for name, segment in segments.items() if not segment.wants_query}
        shortcuts = [probe for probe in self._probes if probe.name not in segments]
        if shortcuts:
            with stage(PROBE):
                mass |= {probe.name: embedding_mass(adapter, version, probe) for probe in shortcuts}
        if self._commit is not None and self._commit.n_read:
            mass["newest"] = self._commit.mass
        return Signals(mass, {name: segment.query for name, segment in segments.items() if segment.wants_query})

    @property
    def _ends_interval(self) -> bool:
        return self._interval_frames >= self.stream.chunk_frames and not self._waits_for_rows

    @property
    def _waits_for_rows(self) -> bool:
        """Whether the policy wants signals that new rows bring, but all frames are held back: forgetting made room."""
        stream = self.stream
        held, policy = stream.memory.current.held_tokens, stream.policy
        if self._pending is not None or not stream.held_back or not any(held):
            return False
        return policy.reads_newest or bool(policy.probes(held, stream.history, stream.facts))

    def _prepare_commit(self, tokens: VisualTokens) -> None:
        memory, before = self.stream.memory, self.stream.memory.current
        try:
            self._begin_commit(tokens)
        finally:
            # Positions were closed up, for these frames or in vain.
            self.stream.n_changes += memory.current is not before
        if self._pending is not None and self._ends_interval:
            self._prepare_probes(self._pending)

    def _begin_commit(self, tokens: VisualTokens) -> None:
        memory, n_held_back = self.stream.memory, self.stream.held_back
        placed = memory.make_room(self._standing, reserved_positions(memory.shape.max_positions))
        if n_held_back:
            leaving = memory.begin_leaving(tokens, self._seconds, n_held_back, placed)
            self._entering, self._pending = leaving or (None, None)
        else:
            self._entering = placed
            self._pending = memory.begin_vision(placed, self._seconds)

    def _prepare_probes(self, pending: PendingAppend) -> None:
        stream = self.stream
        n_rows = tuple(n + pending.rows.table.n_tokens for n in pending.base.held_tokens)
        self._probes.extend(stream.policy.probes(n_rows, stream.history, stream.facts))
        self._segments = {p.name: self._probe_segment(p, pending) for p in self._probes if p.queries == "true"}

    def _probe_segment(self, probe: Probe, pending: PendingAppend) -> ProbeSegment:
        facts = self.stream.adapter.facts
        text_TE = probe_embeddings(self.stream.adapter, probe)
        # A probe commits nothing, so a long one may not push the stream to compact: it is cut to the room there is.
        start = pending.text_position
        text_TE = text_TE[: facts.max_positions - start]
        position_RT = (start + torch.arange(text_TE.shape[0], device=facts.device)).expand(facts.n_axes, -1)
        wants_query = probe.wants == "query"
        return ProbeSegment(text_TE, position_RT, pending, frozenset(probe.layers), wants_query)


def chooser_for(stream: Stream, pending: PendingAppend) -> Chooser:
    """New rows see what the policy recalls for them."""
    version, spec = pending.base, stream.view_for(None)
    return Chooser(stream.policy, stream.state, version, stream.adapter.rope, spec, version.next_position)
