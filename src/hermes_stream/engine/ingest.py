"""How frames become memory: pieces of an interval, probes at its end, the policy's plan after it.

Runs on the engine's thread only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hermes_stream.engine.batch import CommitSegment, ProbeSegment, Segment
from hermes_stream.errors import UsageError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.models.adapter import Adapter, ModelFacts
from hermes_stream.policies.base import Policy, Probe, StreamFacts, Turn, ViewSpec
from hermes_stream.types import Frame

# Positions kept free for a question and its answer, as in HERMES' release; at most an eighth of a small model's.
_RESERVED_POSITIONS = 1024


@dataclass(eq=False)
class Stream:
    """One stream's memory and the policy that looks after it: all that a fork copies."""

    adapter: Adapter
    memory: KVMemory
    policy: Policy
    facts: StreamFacts
    state: Any
    chunk_frames: int
    history: tuple[Turn, ...] = ()
    interval_frames: int = 0
    n_compressions: int = 0

    def fork(self) -> Stream:
        twin = Stream(**self.__dict__)
        twin.memory = self.memory.fork()
        return twin

    def view_for(self) -> ViewSpec:
        """What a question asked now may see."""
        return self.policy.view_for(memory_view(self.memory.current, self), self.state)

    def needs_prefix(self) -> bool:
        return self.memory.current.number == 0

    def end_interval(self, probes: Sequence[ProbeSegment], names: Sequence[str]) -> None:
        """Let the policy decide, and execute its plan."""
        mass = {name: segment.mass for name, segment in zip(names, probes, strict=True)}
        view = memory_view(self.memory.current, self, mass)
        plan, state = self.policy.after_chunk(view, self.state)
        self.memory.apply(plan)
        self.state = state
        self.interval_frames = 0
        self.n_compressions += plan.layers is not None or plan.keep_frames is not None


def memory_view(
    version: MemoryVersion, stream: Stream, mass: dict[str, dict[int, torch.Tensor]] | None = None
) -> MemoryView:
    """The policy's read-only view of a version; attention to the prefix is cut off."""
    n_prefix = version.n_prefix
    layers = tuple(
        LayerView(
            layer.table.slice(n_prefix),
            {name: by_layer[index][:, n_prefix:] for name, by_layer in (mass or {}).items() if index in by_layer},
        )
        for index, layer in enumerate(version.layers)
    )
    return MemoryView(
        layers,
        budget_tokens=stream.policy.budget_tokens,
        frames_seen=version.grids_seen,
        time_seconds=version.time_seconds,
        next_position=version.next_position,
        tokens_per_frame=stream.facts.tokens_per_frame,
        feature_frames=tuple(frame.frame for frame in version.features),
    )


def check_times(stream: Stream, frames: Iterable[Frame]) -> None:
    """Raise UsageError if a frame is older than the one before it, or than the newest in the memory."""
    version = stream.memory.current
    last = version.time_seconds if version.frames_seen else float("-inf")
    for frame in frames:
        if frame.pts_seconds < last:
            raise UsageError(
                f"a frame at {frame.pts_seconds:.3f} s came after one at {last:.3f} s; times must not fall"
            )
        last = frame.pts_seconds


class Piece:
    """The frames of one stream that go into the next forward, with the probes that ride along."""

    def __init__(self, stream: Stream, frames: Sequence[Frame]) -> None:
        """Encodes the frames. Raises LimitError, with nothing changed but a compaction, if they do not fit."""
        check_times(stream, frames)
        self.stream = stream
        self.n_frames = min(len(frames), stream.chunk_frames - stream.interval_frames)
        self._ends_interval = stream.interval_frames + self.n_frames == stream.chunk_frames
        self._seconds = frames[self.n_frames - 1].pts_seconds
        self._tokens = stream.adapter.embed(frames[: self.n_frames])
        self._pending: PendingAppend | None = None
        self._probe_names: list[str] = []
        self._probe_segments: list[ProbeSegment] = []
        if stream.policy.ingests == "tokens":
            self._prepare_commit()

    def segments(self) -> list[Segment]:
        """Empty for policies that hold features only."""
        if self._pending is None:
            return []
        return [CommitSegment(self._tokens.embeddings_NE, self._pending), *self._probe_segments]

    def finish(self) -> None:
        """After the forward: commit, and compress if the interval is over."""
        stream = self.stream
        if self._pending is not None:
            stream.memory.commit(self._pending)
        else:
            stream.memory.commit_features(self._tokens, self._seconds)
        stream.interval_frames += self.n_frames
        if self._ends_interval:
            stream.end_interval(self._probe_segments, self._probe_names)

    def _prepare_commit(self) -> None:
        memory = self.stream.memory
        reserved = min(_RESERVED_POSITIONS, memory.shape.max_positions // 8)
        memory.make_room(self._tokens, reserved)
        self._pending = memory.begin_vision(self._tokens, self._seconds)
        if self._ends_interval:
            for probe in self._wanted_probes():
                self._probe_names.append(probe.name)
                self._probe_segments.append(self._probe_segment(probe, self._pending))

    def _wanted_probes(self) -> tuple[Probe, ...]:
        stream = self.stream
        n_new = self._tokens.embeddings_NE.shape[0]
        n_rows = tuple(n + n_new for n in stream.memory.current.held_tokens)
        return stream.policy.probes(n_rows, stream.history, stream.facts)

    def _probe_segment(self, probe: Probe, pending: PendingAppend) -> ProbeSegment:
        facts = self.stream.adapter.facts
        text_TE = self.stream.adapter.guidance(probe.text)
        # A probe commits nothing, so a long one may not push the stream to compact: it is cut to the room there is.
        start = pending.rows.next_position
        text_TE = text_TE[: facts.max_positions - start]
        position_RT = (start + torch.arange(text_TE.shape[0], device=facts.device)).expand(facts.n_axes, -1)
        return ProbeSegment(text_TE, position_RT, pending, frozenset(probe.layers))


def memory_shape(facts: ModelFacts) -> MemoryShape:
    """The memory that a model needs."""
    return MemoryShape(
        n_layers=facts.n_layers,
        n_kv_heads=facts.n_kv_heads,
        head_dim=facts.head_dim,
        n_axes=facts.n_axes,
        max_positions=facts.max_positions,
        dtype=facts.dtype,
        device=facts.device,
    )


def open_stream(adapter: Adapter, policy: Policy, *, chunk_frames: int, keep_raw: bool, seed: int) -> Stream:
    """An empty stream. Raises PolicyError if the policy cannot work with this model."""
    facts = StreamFacts(
        n_layers=adapter.facts.n_layers,
        tokens_per_frame=adapter.facts.tokens_per_frame,
        prefix_tokens=adapter.facts.prefix_tokens,
        family=adapter.facts.family,
        seed=seed,
    )
    state = policy.start(facts)
    budget = policy.budget_tokens if policy.ingests == "tokens" else None
    memory = KVMemory(memory_shape(adapter.facts), adapter.rope, budget_tokens=budget, keep_raw=keep_raw)
    return Stream(adapter, memory, policy, facts, state, chunk_frames)
