"""How frames become memory: pieces of an interval, probes at its end, the policy's plan after it.

Runs on the engine's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hermes_stream.engine.batch import CommitSegment, DeepStack, PackedBatch, ProbeSegment, Segment
from hermes_stream.engine.embedding_probe import embedding_mass
from hermes_stream.engine.probe_text import probe_embeddings
from hermes_stream.engine.recall import Chooser
from hermes_stream.errors import ConfigError, PolicyError, UsageError
from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.sizes import tensor_bytes
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import FeatureView, LayerView, MemoryView
from hermes_stream.models.adapter import Adapter, ModelFacts
from hermes_stream.policies.base import Policy, Probe, StreamFacts, Turn, ViewSpec
from hermes_stream.policies.front_ends.base import reduce_tokens
from hermes_stream.types import Frame, VisualTokens

_log = logging.getLogger(__name__)

# Positions kept free for a question and its answer, as in HERMES' release; at most an eighth of a small model's.
_RESERVED_POSITIONS = 1024


@dataclass(frozen=True, slots=True)
class Signals:
    """What an interval's last forward brought for the policy, by name and layer.

    mass: attention to each row, prefix included, `[K, N]`. query: mean un-rotated queries, `[H, D]`.
    """

    mass: Mapping[str, Mapping[int, torch.Tensor]] = field(default_factory=dict)
    query: Mapping[str, Mapping[int, torch.Tensor]] = field(default_factory=dict)


@dataclass(eq=False)
class Stream:
    """One stream's memory and the policy that looks after it: all that a fork copies.

    interval_tokens: what the frames of the interval have brought so far. has_noted: whether was said that they are more
        than the budget.
    encoded: the interval's frames as the text model got them, for policies that want them. texts: see `MemoryView`.
    waiting: frames that have no partner yet, for families that make one grid of two. since_seconds: of the first frame.
    front_states: of the policy's front-ends, after the newest committed frame.
    """

    adapter: Adapter
    memory: KVMemory
    policy: Policy
    facts: StreamFacts
    state: Any
    chunk_frames: int
    history: tuple[Turn, ...] = ()
    interval_frames: int = 0
    interval_tokens: int = 0
    has_noted: bool = False
    n_compressions: int = 0
    waiting: tuple[Frame, ...] = ()
    since_seconds: float | None = None
    front_states: tuple[Any, ...] = ()
    last_compression_seconds: float | None = None
    encoded: FeatureBank | None = None
    texts: tuple[torch.Tensor, ...] = ()

    def fork(self) -> Stream:
        twin = Stream(**self.__dict__)
        twin.memory = self.memory.fork()
        return twin

    @property
    def state_bytes(self) -> int:
        """Of what the policy and its front-ends remember beside the memory."""
        return tensor_bytes((self.state, self.front_states))

    def encode_waiting(self) -> VisualTokens | None:
        """The frames that wait for a partner, as a question sees them: the last one stands in for those to come."""
        if not self.waiting or self.since_seconds is None:
            return None
        n_missing = self.adapter.facts.frames_per_grid - len(self.waiting)
        frames = [*self.waiting, *[self.waiting[-1]] * n_missing]
        return replace(self.encode(frames, self.since_seconds)[0], n_frames=len(self.waiting))

    def encode(self, frames: Sequence[Frame], since_seconds: float) -> tuple[VisualTokens, tuple[Any, ...]]:
        """What the text model will read of the frames that come next, and the front-ends' states after them."""
        policy = self.policy
        tokens = self.adapter.embed(frames, since_seconds=since_seconds, wants_saliency=policy.needs_saliency)
        return reduce_tokens(policy.front_ends, tokens, self.front_states)

    @property
    def held_back(self) -> int:
        """How many of the newest frames wait as features before the text model reads them."""
        return self.policy.held_back(self.facts)

    def view_for(self, question: str | None) -> ViewSpec:
        """What a question asked now may see; without one, what new frames may see."""
        asked_TE = None if question is None else self.adapter.guidance(question)
        return self.policy.view_for(memory_view(self.memory.current, self), self.state, asked_TE)

    def end_interval(self, signals: Signals) -> None:
        """Let the policy decide, given what its probes brought, and execute its plan."""
        self._note_large_interval()
        view = memory_view(self.memory.current, self, signals)
        plan, state = self.policy.after_chunk(view, self.state)
        is_eviction = plan.evicts(self.memory.current.held_tokens)
        self.memory.apply(plan)
        self.state = state
        self.interval_frames = self.interval_tokens = 0
        self.encoded = None
        if is_eviction:
            self.n_compressions += 1
            self.last_compression_seconds = view.time_seconds

    def _note_large_interval(self) -> None:
        """An interval may bring more than the budget: the memory is larger in between, which is said once."""
        budget = self.policy.budget_tokens if self.policy.ingests == "tokens" else None
        if budget is None or self.interval_tokens <= budget or self.has_noted:
            return
        self.has_noted = True
        _log.warning(
            "an interval of %d frames brought %d tokens, more than the budget of %d: a layer holds as many before each "
            "compression; shorter intervals or fewer pixels a frame take less",
            self.interval_frames,
            self.interval_tokens,
            budget,
        )


def memory_view(version: MemoryVersion, stream: Stream, signals: Signals | None = None) -> MemoryView:
    """The policy's read-only view of a version; attention to the prefix is cut off."""
    n_prefix, signals = version.n_prefix, signals or Signals()
    layers = tuple(
        LayerView.of(
            layer,
            n_prefix,
            stream.memory.rope,
            {
                name: by_layer[index][:, n_prefix:].to(layer.table.data_CHN.device)
                for name, by_layer in signals.mass.items()
                if index in by_layer
            },
            {name: by_layer[index] for name, by_layer in signals.query.items() if index in by_layer},
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
        features=_feature_view(version.features),
        encoded=_feature_view(stream.encoded or FeatureBank.empty(version.shape)),
        texts=stream.texts,
    )


def _feature_view(bank: FeatureBank) -> FeatureView:
    return FeatureView(bank.embeddings_NE, bank.table)


def reserved_positions(max_positions: int) -> int:
    """Positions that ingest leaves free for questions."""
    return min(_RESERVED_POSITIONS, max_positions // 8)


def _check_positions(facts: ModelFacts, policy: Policy, stream: StreamFacts, chunk_frames: int) -> None:
    """Refuse what could only fail mid-stream. Families that share positions among tokens are not judged here."""
    budgets_L = policy.layer_budgets(facts.n_layers)
    if budgets_L is None or facts.n_axes > 1:
        return
    budget, seen = max(budgets_L), policy.seen_rows(stream) or 0
    interval = 0 if policy.ingests == "features" else chunk_frames * facts.tokens_per_frame
    needed = facts.prefix_tokens + max(budget, seen) + interval + reserved_positions(facts.max_positions)
    if needed <= facts.max_positions:
        return
    most = max(max(budget, seen) - (needed - facts.max_positions), 0)
    has = f"with intervals of {chunk_frames} frames needs {needed} positions, but {facts.name} has"
    if seen > budget:
        raise ConfigError(
            f"a question that sees {seen} tokens {has} {facts.max_positions}; let it see at most {most}, by a smaller "
            "budget or the policy's own option, or give shorter intervals"
        )
    raise ConfigError(
        f"a budget of {budget} tokens {has} {facts.max_positions}; give a budget of at most {most}, or shorter "
        "intervals"
    )


def _check_signals(facts: ModelFacts, policy: Policy) -> None:
    """Refuse what the family cannot give."""
    for front_end in policy.front_ends:
        if front_end.needs_saliency and not facts.has_saliency:
            raise PolicyError(
                f"{front_end.name} needs the attention of the vision encoder, which {facts.family} does not give; "
                "use dtd or change-gate with it"
            )


def check_times(stream: Stream, frames: Iterable[Frame]) -> None:
    """Raise UsageError if a frame is older than the one before it, or than the newest in the memory."""
    version = stream.memory.current
    last = version.time_seconds if version.frames_seen else float("-inf")
    last = stream.waiting[-1].pts_seconds if stream.waiting else last
    for frame in frames:
        if frame.pts_seconds < last:
            raise UsageError(
                f"a frame at {frame.pts_seconds:.3f} s came after one at {last:.3f} s; times must not fall"
            )
        last = frame.pts_seconds


class Piece:
    """The frames of one stream that go into the next forward, with the probes that ride along.

    Families that make one grid of several frames leave those without a partner waiting in the stream.
    """

    def __init__(self, stream: Stream, frames: Sequence[Frame]) -> None:
        """Encodes the frames. Raises LimitError, with nothing changed but a compaction, if they do not fit."""
        check_times(stream, frames)
        self.stream = stream
        candidates = [*stream.waiting, *frames]
        n_encoded = self._n_encoded(len(candidates))
        encoded = candidates[:n_encoded]
        # Without a partner: all that is left, if it is less than a grid.
        self._waiting = tuple(candidates) if not encoded else ()
        self.n_frames = len(encoded or candidates) - len(stream.waiting)
        self._interval_frames = stream.interval_frames + n_encoded
        self._since_seconds = candidates[0].pts_seconds if stream.since_seconds is None else stream.since_seconds
        self._seconds = candidates[max(n_encoded, 1) - 1].pts_seconds
        self._tokens, self._front_states = None, stream.front_states
        if encoded:
            self._tokens, self._front_states = stream.encode(encoded, self._since_seconds)
        # What enters the text model now: the same, unless newest frames are held back.
        self._entering = self._tokens
        self._pending: PendingAppend | None = None
        self._probes: list[Probe] = []
        self._segments: dict[str, ProbeSegment] = {}
        self._commit: CommitSegment | None = None
        if self._tokens is not None and stream.policy.ingests == "tokens":
            self._prepare_commit(self._tokens)

    def segments(self) -> list[Segment]:
        """Empty for policies that hold features only, for frames that are held back and for one without a partner."""
        if self._pending is None or self._entering is None:
            return []
        self._commit = CommitSegment(self._entering.embeddings_NE, self._pending, DeepStack.of([self._entering]))
        policy = self.stream.policy
        if policy.reads_newest and self._ends_interval:
            self._commit.n_read = int((self._entering.frame_N == self._entering.frame_N[-1]).sum())
        if policy.recalls_at == "always":
            self._commit.sees = self._chooser(self._pending)
        return [self._commit, *self._segments.values()]

    def _chooser(self, pending: PendingAppend) -> Chooser:
        """New frames see what the policy recalls for them."""
        stream, version = self.stream, pending.base
        spec = stream.view_for(None)
        return Chooser(stream.policy, stream.state, version, stream.adapter.rope, spec, version.next_position)

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
        stream = self.stream
        if self._pending is not None:
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

    def _signals(self) -> Signals:
        """What probes and the newest frame attended to, once the interval is committed."""
        adapter, version = self.stream.adapter, self.stream.memory.current
        segments = self._segments
        mass = {name: segment.mass for name, segment in segments.items() if not segment.wants_query}
        mass |= {p.name: embedding_mass(adapter, version, p) for p in self._probes if p.name not in segments}
        if self._commit is not None and self._commit.n_read:
            mass["newest"] = self._commit.mass
        return Signals(mass, {name: segment.query for name, segment in segments.items() if segment.wants_query})

    @property
    def _ends_interval(self) -> bool:
        return self._interval_frames >= self.stream.chunk_frames

    def _n_encoded(self, n_candidates: int) -> int:
        """Up to the interval's end, in whole grids; at least one grid where there is one."""
        per_grid = self.stream.adapter.facts.frames_per_grid
        n_left = self.stream.chunk_frames - self.stream.interval_frames
        if self.stream.policy.recalls_at == "always" and self.stream.view_for(None).asks_first:
            # What one frame recalls must not depend on those that happen to come with it.
            n_left = per_grid
        n_wanted = min(n_candidates, max(n_left - n_left % per_grid, per_grid))
        return n_wanted - n_wanted % per_grid

    def _prepare_commit(self, tokens: VisualTokens) -> None:
        memory, n_held_back = self.stream.memory, self.stream.held_back
        reserve = reserved_positions(memory.shape.max_positions)
        if n_held_back:
            leaving = memory.begin_leaving(tokens, self._seconds, n_held_back, reserve)
            self._entering, self._pending = leaving or (None, None)
        else:
            memory.make_room(tokens, reserve)
            self._pending = memory.begin_vision(tokens, self._seconds)
        if self._pending is not None and self._ends_interval:
            self._prepare_probes(self._pending)

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


def memory_shape(facts: ModelFacts) -> MemoryShape:
    """The memory that a model needs."""
    return MemoryShape(
        n_layers=facts.n_layers,
        n_kv_heads=facts.n_kv_heads,
        head_dim=facts.head_dim,
        n_axes=facts.n_axes,
        time_axes=facts.time_axes,
        has_absolute_time=facts.has_absolute_time,
        text_overlaps_times=facts.text_overlaps_times,
        layer_devices=facts.layer_devices,
        max_positions=facts.max_positions,
        dtype=facts.dtype,
        device=facts.device,
    )


def open_stream(adapter: Adapter, policy: Policy, *, chunk_frames: int, keep_raw: bool, seed: int) -> Stream:
    """An empty stream. Raises PolicyError if the policy cannot work with this model."""
    facts = StreamFacts(
        n_layers=adapter.facts.n_layers,
        tokens_per_frame=policy.tokens_after(adapter.facts.tokens_per_frame),
        prefix_tokens=adapter.facts.prefix_tokens,
        family=adapter.facts.family,
        seed=seed,
    )
    _check_signals(adapter.facts, policy)
    state = policy.start(facts)
    _check_positions(adapter.facts, policy, facts, chunk_frames)
    memory = KVMemory(
        memory_shape(adapter.facts),
        adapter.rope,
        budgets_L=policy.layer_budgets(facts.n_layers),
        compaction=policy.placement,
        keep_raw=keep_raw,
        archive=policy.archive,
    )
    front_states = (None,) * len(policy.front_ends)
    texts = tuple(adapter.guidance(text) for text in policy.texts)
    return Stream(adapter, memory, policy, facts, state, chunk_frames, front_states=front_states, texts=texts)


def commit_prefix(stream: Stream) -> None:
    """Put what stands before the first frame into an empty memory."""
    prefix_TE = stream.adapter.prefix()
    pending = stream.memory.begin_prefix(prefix_TE.shape[0])
    stream.adapter.run(PackedBatch([CommitSegment(prefix_TE, pending)], stream.adapter.rope))
    stream.memory.commit(pending)
