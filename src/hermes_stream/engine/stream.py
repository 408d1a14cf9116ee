"""One stream: its memory, the policy that looks after it, and what that policy sees.

Used on the engine's thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from hermes_stream.engine.commentary.state import Commentary
from hermes_stream.engine.faults import Doubt, check_doubts
from hermes_stream.engine.gaps import check_gap, check_outside, n_before_gap, with_gap
from hermes_stream.engine.seen import SeenLog
from hermes_stream.errors import SessionError, UsageError
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.sizes import tensor_bytes
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.memory.view import FeatureView, LayerView, MemoryView
from hermes_stream.models.adapter import Adapter, Clip
from hermes_stream.policies.base import Policy, StreamFacts, ViewSpec
from hermes_stream.policies.front_ends.base import reduce_tokens
from hermes_stream.stages import EVICT, SCORE, VISION, stage
from hermes_stream.types import AsOf, Frame, Gap, Turn, VisualTokens

_log = logging.getLogger(__name__)


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
    gaps: times in which nothing was seen, oldest first. seen: what there was after each grid. n_changes: how often
        anything but frames changed the memory or the policy's state.
    as_of: for a stream that was cut back to a moment of its past, and takes no more frames.
    commentary: where that stands, for a stream that is narrated.
    front_states: of the policy's front-ends, after the newest committed frame.
    frames_dropped: frames for which memory ran out. stopped: why no more frames and questions are taken.
    doubts: signals of past intervals that the device has not answered for yet.
    on_growth: told before so many rows come, and after each plan; raises LimitError if the engine has no room for them.
    on_arrival: told of frames that are in.
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
    gaps: tuple[Gap, ...] = ()
    seen: SeenLog = field(default_factory=SeenLog)
    n_changes: int = 0
    as_of: AsOf | None = None
    commentary: Commentary | None = None
    front_states: tuple[Any, ...] = ()
    last_compression_seconds: float | None = None
    encoded: FeatureBank | None = None
    texts: tuple[torch.Tensor, ...] = ()
    frames_dropped: int = 0
    stopped: str | None = None
    doubts: tuple[Doubt, ...] = ()
    on_growth: Callable[[Stream, int], None] | None = None
    on_arrival: Callable[[Sequence[Frame]], None] | None = None

    def fork(self) -> Stream:
        twin = Stream(**self.__dict__)
        twin.memory = self.memory.fork()
        twin.on_growth = twin.on_arrival = None
        return twin

    def check_growth(self, n_new_rows: int) -> None:
        """Raise LimitError if the engine has no room for what is about to come, or has come."""
        if self.on_growth is not None:
            self.on_growth(self, n_new_rows)

    @property
    def newest_seconds(self) -> float | None:
        """Time of the newest frame, that without a partner included; None before the first."""
        if self.waiting:
            return self.waiting[-1].pts_seconds
        return self.memory.current.time_seconds if self.memory.current.frames_seen else None

    def mark_gap(self, gap: Gap, offered_seconds: float | None) -> None:
        """Note that nothing was seen. offered_seconds: of the newest frame that is on its way, if there is one.

        Raises UsageError for a gap that begins before any of these, or before another ended.
        """
        self.check_open_ended()
        for seconds in (self.newest_seconds, offered_seconds):
            check_gap(self.gaps, gap, seconds)
        self.gaps = with_gap(self.gaps, gap)

    def check_open_ended(self) -> None:
        """Raise UsageError if the stream was cut back to a moment of its past."""
        if self.as_of is not None:
            raise UsageError(
                f"this session is as of {self.as_of.time_seconds:.3f} s and takes no frames; watch the one that it was "
                "made from"
            )

    def check_running(self) -> None:
        """Raise SessionError if the session was stopped, or must be because of an interval's signals."""
        if self.stopped is not None:
            raise SessionError(self.stopped)
        try:
            self.doubts = check_doubts(self.doubts, self.memory.current.time_seconds)
        except SessionError as error:
            self.stopped = str(error)
            raise

    @property
    def state_bytes(self) -> int:
        """Of what the policy and its front-ends remember beside the memory."""
        return tensor_bytes((self.state, self.front_states))

    def encode_waiting(self) -> VisualTokens | None:
        """The frames that wait for a partner, as a question sees them: the last one stands in for those to come."""
        if not self.waiting or self.since_seconds is None:
            return None
        return self.reduce(self.embed(self._closed(self.waiting, self.since_seconds)))[0]

    def next_clip(self, frames: Sequence[Frame], most_grids: int | None = None) -> Clip | None:
        """What the vision tower can encode of the frames that come next: whole grids up to the interval's end.

        At least one grid where there is one, also in an interval shorter than that; None for frames without a partner.
        No grid reaches over a gap: a frame that waits before one gets itself as a partner.
        """
        per_grid, candidates = self.adapter.facts.frames_per_grid, [*self.waiting, *frames]
        if not candidates:
            return None
        n_left = max(self.chunk_frames - self.interval_frames, per_grid)
        if most_grids is not None:
            n_left = min(n_left, most_grids * per_grid)
        n_joined = n_before_gap(self.gaps, candidates)
        n = min(n_joined, n_left)
        n -= n % per_grid
        since_seconds = candidates[0].pts_seconds if self.since_seconds is None else self.since_seconds
        if not n and n_joined < len(candidates):
            return self._closed(candidates[:n_joined], since_seconds)
        return Clip(candidates[:n], since_seconds) if n else None

    def _closed(self, frames: Sequence[Frame], since_seconds: float) -> Clip:
        """Frames of one grid, the last of which stands in for those that have not come."""
        n_missing = self.adapter.facts.frames_per_grid - len(frames)
        return Clip([*frames, *[frames[-1]] * n_missing], since_seconds, n_missing)

    @property
    def grids_at_once(self) -> int | None:
        """The most grids that may enter the text model together; None is any number."""
        # What one frame recalls must not depend on those that happen to come with it.
        return 1 if self.policy.recalls_at == "always" and self.view_for(None).asks_first else None

    def embed(self, clip: Clip) -> VisualTokens:
        """What the vision tower makes of frames."""
        wants_saliency = self.policy.needs_saliency
        with stage(VISION):
            return clip.count(self.adapter.embed_clips([clip], wants_saliency=wants_saliency)[0])

    def reduce(self, tokens: VisualTokens) -> tuple[VisualTokens, tuple[Any, ...]]:
        """What the text model will read of the frames that come next, and the front-ends' states after them."""
        return reduce_tokens(self.policy.front_ends, tokens, self.front_states)

    @property
    def held_back(self) -> int:
        """How many of the newest frames wait as features before the text model reads them."""
        return self.policy.held_back(self.facts)

    @property
    def holds_features(self) -> bool:
        """Whether its newest frames wait outside the text model."""
        return self.policy.ingests == "features" or self.held_back > 0

    def view_for(self, question: str | None) -> ViewSpec:
        """What a question asked now may see; without one, what new frames may see."""
        asked_TE = None if question is None else self.adapter.guidance(question)
        return self.policy.view_for(memory_view(self.memory.current, self), self.state, asked_TE)

    def end_interval(self, signals: Signals) -> None:
        """Let the policy decide, given what its probes brought, and execute its plan.

        Raises SessionError if that is not finite: at once where looking costs nothing, else from `check_running`.
        """
        self._doubt(signals)
        self._note_large_interval()
        with stage(SCORE):
            view = memory_view(self.memory.current, self, signals)
            plan, state = self.policy.after_chunk(view, self.state)
        is_eviction = plan.evicts(self.memory.current.held_tokens)
        with stage(EVICT):
            self.memory.apply(plan)
        # What was encoded in the interval is another signal for questions, and begins anew.
        if not plan.is_identity or state is not self.state or self.policy.needs_features:
            self.n_changes += 1
        self.state = state
        self.interval_frames = self.interval_tokens = 0
        self.encoded = None
        if is_eviction:
            self.n_compressions += 1
            self.last_compression_seconds = view.time_seconds

    def _doubt(self, signals: Signals) -> None:
        by_name = {name: by_layer.values() for name, by_layer in {**signals.mass, **signals.query}.items() if by_layer}
        if not by_name:
            return
        doubt = Doubt(by_name)
        self.doubts = (*self.doubts, doubt)
        if doubt.is_free:
            self.check_running()

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
        step_seconds=1.0 if stream.commentary is None else stream.commentary.settings.step_seconds,
    )


def _feature_view(bank: FeatureBank) -> FeatureView:
    return FeatureView(bank.embeddings_NE, bank.table)


def check_times(stream: Stream, frames: Iterable[Frame]) -> None:
    """Raise UsageError if a frame is older than the one before it or the newest in the memory, or inside a gap."""
    frames = list(frames)
    last = float("-inf") if stream.newest_seconds is None else stream.newest_seconds
    check_outside(stream.gaps, frames, last)
    for frame in frames:
        if frame.pts_seconds < last:
            raise UsageError(
                f"a frame at {frame.pts_seconds:.3f} s came after one at {last:.3f} s; times must not fall"
            )
        last = frame.pts_seconds
