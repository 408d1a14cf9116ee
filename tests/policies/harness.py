"""A stream without a model: random keys, values and attention, real memory, real policy.

Shape letters: K key/value heads, T new tokens, N held, D head dimension, E model width, R axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from hermes_stream.memory.append import PendingAppend
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import archived_keys
from hermes_stream.memory.removal import Removal, shown_within
from hermes_stream.memory.rope import rotate
from hermes_stream.memory.shape import MemoryBits, MemoryShape
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.view import FeatureView, LayerView, MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.types import Turn, VisualTokens

HEADS, HEAD_DIM = 2, 2
LOUD = 1e6


class QuarterTurnRope:
    """One rotary pair, 90 degrees per position: positions can be read off the keys by eye."""

    def tables(self, position_RN: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        quarter_N = position_RN[0] % 4
        cos = torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=dtype)[quarter_N]
        sin = torch.tensor([0.0, 1.0, 0.0, -1.0], dtype=dtype)[quarter_N]
        return cos[..., None].expand(*cos.shape, 2), sin[..., None].expand(*sin.shape, 2)


def empty_memory(
    n_layers: int,
    budgets_L: Sequence[int] | None = None,
    *,
    n_heads: int = HEADS,
    max_positions: int = 2**31,
    archive: ArchiveSettings | None = None,
    memory_bits: MemoryBits = 16,
) -> KVMemory:
    shape = MemoryShape(
        n_layers=n_layers,
        n_kv_heads=n_heads,
        head_dim=HEAD_DIM,
        n_axes=1,
        max_positions=max_positions,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    return KVMemory(shape, QuarterTurnRope(), budgets_L=budgets_L, archive=archive, memory_bits=memory_bits)


def append(memory: KVMemory, pending: PendingAppend, raw_KTD: torch.Tensor, value_KTD: torch.Tensor) -> None:
    """Commit the same un-rotated keys and values in every layer."""
    cos_TD, sin_TD = memory.rope.tables(pending.rows.table.position_RHN[:, 0], raw_KTD.dtype)
    rotated_KTD = rotate(raw_KTD, cos_TD, sin_TD)
    for layer in range(memory.shape.n_layers):
        pending.write(layer, rotated_KTD, value_KTD, raw_KTD)
    memory.commit(pending)


def append_prefix(memory: KVMemory, n_tokens: int) -> None:
    zeros_KTD = torch.zeros(memory.shape.n_kv_heads, n_tokens, HEAD_DIM)
    append(memory, memory.begin_prefix(n_tokens), zeros_KTD, zeros_KTD)


def visual_tokens(
    n_frames: int, tokens_per_frame: int, first_frame: int = 0, *, frames_per_second: float = 1.0
) -> VisualTokens:
    n = n_frames * tokens_per_frame
    frame_N = torch.arange(n_frames).repeat_interleave(tokens_per_frame)
    return VisualTokens(
        embeddings_NE=torch.zeros(n, 3),
        positions_RN=torch.arange(n)[None],
        n_positions=n,
        frame_N=frame_N,
        row_N=torch.zeros(n, dtype=torch.int64),
        column_N=torch.arange(n) % tokens_per_frame,
        times_seconds_N=(first_frame + frame_N).double() / frames_per_second,
        n_frames=n_frames,
        n_grids=n_frames,
    )


def append_frames(
    memory: KVMemory,
    n_frames: int,
    tokens_per_frame: int,
    generator: torch.Generator | None = None,
    *,
    frames_per_second: float = 1.0,
) -> None:
    first = memory.current.frames_seen
    tokens = visual_tokens(n_frames, tokens_per_frame, first, frames_per_second=frames_per_second)
    append_random(memory, memory.begin_vision(tokens, tokens.times_seconds_N[-1].item()), generator)


def append_random(
    memory: KVMemory, pending: PendingAppend, generator: torch.Generator | None, loud: range = range(0)
) -> None:
    """loud: frames whose keys and values are so large that whatever is made of them is."""
    shape = memory.shape.n_kv_heads, pending.rows.table.n_tokens, HEAD_DIM
    size_T1 = _sizes(pending.rows.table.frame_HN[0], loud)
    raw_KTD, value_KTD = (torch.randn(shape, generator=generator) for _ in range(2))
    raw_KTD, value_KTD = (torch.where(size_T1 > 1, x_KTD.sign() * size_T1, x_KTD) for x_KTD in (raw_KTD, value_KTD))
    append(memory, pending, raw_KTD, value_KTD)


def _sizes(frame_N: torch.Tensor, loud: range) -> torch.Tensor:
    """What the content of rows is multiplied with, `[n, 1]`."""
    is_loud_N = (frame_N >= loud.start) & (frame_N < loud.stop)
    return torch.ones(frame_N.numel(), 1).masked_fill(is_loud_N[:, None], LOUD)


def hand_made_view(
    identities: list[list[int]],
    mass: list[dict[str, torch.Tensor]] | None = None,
    *,
    frames: list[list[int]] | None = None,
    budget: int | None = None,
) -> MemoryView:
    """A view of one table per layer, whose rows have the given identities (and frames)."""
    layers = []
    for index, identity in enumerate(identities):
        table = TokenTable.build(
            kind=1,  # type: ignore[arg-type]
            identity_N=torch.tensor(identity, dtype=torch.int64),
            position_RN=torch.arange(len(identity))[None],
            frame_N=None if frames is None else torch.tensor(frames[index], dtype=torch.int64),
        )
        layers.append(LayerView(table, mass[index] if mass else {}))
    seen = 0 if frames is None else max(max(layer) for layer in frames) + 1
    return MemoryView(tuple(layers), budget, frames_seen=seen, time_seconds=0.0, next_position=0, tokens_per_frame=1)


def feature_view(features_FE: torch.Tensor, tokens_per_frame: int, first_frame: int = 0) -> FeatureView:
    """Frames whose tokens all have their frame's feature."""
    n_frames = features_FE.shape[0]
    table = TokenTable.build(
        kind=TokenKind.VISION,
        identity_N=torch.arange(n_frames * tokens_per_frame),
        position_RN=torch.arange(tokens_per_frame).repeat(n_frames)[None],
        frame_N=first_frame + torch.arange(n_frames).repeat_interleave(tokens_per_frame),
    )
    return FeatureView(features_FE.repeat_interleave(tokens_per_frame, dim=0), table)


@dataclass(frozen=True)
class Interval:
    """What one compression interval looked like."""

    n_rows: tuple[int, ...]
    probe_names: tuple[str, ...]
    plan: Plan
    held: tuple[int, ...]


@dataclass
class FakeStream:
    """One stream under a policy, advanced an interval at a time."""

    policy: Policy
    n_layers: int = 10
    tokens_per_frame: int = 3
    prefix_tokens: int = 2
    seed: int = 0
    max_positions: int = 2**31
    # Some policies forget by seconds: what a test means to be short for its budget is short for them too.
    frames_per_second: float = 2.0
    history: tuple[Turn, ...] = ()
    loud: range = range(0)
    state: Any = None
    intervals: list[Interval] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.facts = StreamFacts(self.n_layers, self.tokens_per_frame, "llava-onevision", self.seed, self.prefix_tokens)
        self.state = self.policy.start(self.facts)
        archive = self.policy.archive
        budgets_L = self.policy.layer_budgets(self.n_layers)
        self.memory = empty_memory(
            self.n_layers,
            budgets_L,
            max_positions=self.max_positions,
            archive=archive,
            memory_bits=self.policy.memory_bits,
        )
        append_prefix(self.memory, self.prefix_tokens)
        self._generator = torch.Generator().manual_seed(self.seed)
        words = torch.Generator().manual_seed(1)
        self.texts = tuple(torch.randn(2, 3, generator=words) for _ in self.policy.texts)

    @property
    def budget(self) -> int | None:
        return self.policy.budget_tokens

    def view(
        self,
        masses: dict[str, dict[int, torch.Tensor]] | None = None,
        queries: dict[str, dict[int, torch.Tensor]] | None = None,
        encoded: FeatureView | None = None,
    ) -> MemoryView:
        version = self.memory.current
        layers = tuple(
            LayerView.of(
                layer,
                version.n_prefix,
                self.memory.rope,
                {name: mass[index] for name, mass in (masses or {}).items() if index in mass},
                {name: query[index] for name, query in (queries or {}).items() if index in query},
            )
            for index, layer in enumerate(version.layers)
        )
        return MemoryView(
            layers,
            budget_tokens=self.budget,
            frames_seen=version.frames_seen,
            time_seconds=version.time_seconds,
            next_position=version.next_position,
            tokens_per_frame=self.tokens_per_frame,
            features=FeatureView(version.features.embeddings_NE, version.features.table),
            encoded=encoded or FeatureView.none(),
            texts=self.texts,
        )

    def advance(self, n_frames: int) -> Interval:
        """Watch frames, run the probes that the policy wants, let it decide, execute its plan."""
        probes = self._ingest(n_frames)
        n_rows = self.memory.current.held_tokens
        view = self.view(self._masses(probes, n_rows), self._queries(probes), self._encoded(n_frames))
        plan, self.state = self.policy.after_chunk(view, self.state)
        version = self.memory.current
        plan.validate(n_rows, version.features.n_rows, version.archived_tokens)
        self.memory.apply(plan)
        interval = Interval(n_rows, tuple(probe.name for probe in probes), plan, self.memory.current.held_tokens)
        self.intervals.append(interval)
        return interval

    def forget(self, frames: range) -> Removal:
        """As the engine does: take everything of these frames out, then let the policy know."""
        times = (frame / self.frames_per_second for frame in (frames.start, frames.stop))
        removal = self.memory.remove(shown_within(*times), forgets=True)
        version, rope = self.memory.current, self.memory.rope
        forgetting = Forgetting(
            frames,
            removal.archive_rows_L,
            self.view(),
            lambda layer, rotated: archived_keys(version, layer, rope, rotated=rotated),
        )
        self.state = self.policy.forget(self.state, forgetting, self.facts)
        return removal

    def _ingest(self, n_frames: int) -> tuple[Probe, ...]:
        """Commit frames; returns what the policy wants to be run over them."""
        first, fps = self.memory.current.frames_seen, self.frames_per_second
        tokens = visual_tokens(n_frames, self.tokens_per_frame, first, frames_per_second=fps)
        pending = self._begin(tokens, tokens.times_seconds_N[-1].item())
        if pending is None:
            return ()
        n_rows = tuple(n + pending.rows.table.n_tokens for n in self.memory.current.held_tokens)
        probes = self.policy.probes(n_rows, self.history, self.facts)
        append_random(self.memory, pending, self._generator, self.loud)
        return probes

    def _masses(self, probes: Sequence[Probe], n_rows: Sequence[int]) -> dict[str, dict[int, torch.Tensor]]:
        wanted = {probe.name: probe.layers for probe in probes if probe.wants == "mass"}
        if self.policy.reads_newest:
            wanted["newest"] = range(self.n_layers)
        return {name: {layer: self._mass(n_rows[layer]) for layer in layers} for name, layers in wanted.items()}

    def _queries(self, probes: Sequence[Probe]) -> dict[str, dict[int, torch.Tensor]]:
        return {
            probe.name: {layer: torch.randn(2 * HEADS, HEAD_DIM, generator=self._generator) for layer in probe.layers}
            for probe in probes
            if probe.wants == "query"
        }

    def _encoded(self, n_frames: int) -> FeatureView:
        """The interval's frames, with random features."""
        if not self.policy.needs_features:
            return FeatureView.none()
        first = self.memory.current.frames_seen - n_frames
        features_FE = torch.randn(n_frames, 3, generator=self._generator)
        features_FE *= _sizes(torch.arange(first, first + n_frames), self.loud)
        return feature_view(features_FE, self.tokens_per_frame, first)

    def _begin(self, tokens: VisualTokens, seconds: float) -> PendingAppend | None:
        """What enters the text model now; None if all frames wait as features, which then have random embeddings."""
        n_held_back = self.policy.held_back(self.facts)
        if self.policy.ingests == "tokens" and not n_held_back:
            self.memory.make_room(tokens)
            return self.memory.begin_vision(tokens, seconds)
        # Frame by frame: many numbers at once are others than the same number of them a few at a time.
        frames = tokens.embeddings_NE.split(self.tokens_per_frame)
        embeddings = [torch.randn(frame_NE.shape, generator=self._generator) for frame_NE in frames]
        size_N1 = _sizes(self.memory.current.grids_seen + tokens.frame_N, self.loud)
        tokens = replace(tokens, embeddings_NE=torch.cat(embeddings) * size_N1)
        if self.policy.ingests == "tokens":
            placed = self.memory.make_room(self.memory.waiting_with(tokens))
            if leaving := self.memory.begin_leaving(tokens, seconds, n_held_back, placed):
                return leaving[1]
        self.memory.commit_features(tokens, seconds)
        return None

    def _mass(self, n_rows: int) -> torch.Tensor:
        """As if a softmax over prefix, rows and probe had been sliced to the rows."""
        logits_KN = 3 * torch.randn(HEADS, self.prefix_tokens + n_rows + 5, generator=self._generator)
        return logits_KN.softmax(dim=-1)[:, self.prefix_tokens : self.prefix_tokens + n_rows]
