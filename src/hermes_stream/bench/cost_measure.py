"""Taking compression intervals apart: each part by itself, through the functions that the engine runs it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count, cycle, islice
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from hermes_stream.bench.cost import PLAIN, Interval, MemoryCost
from hermes_stream.bench.cost_count import ArithmeticCounter, chunk_flops, probe_flops, shortcut_flops
from hermes_stream.bench.timing import timed
from hermes_stream.engine.batch import CommitSegment, PackedBatch, ProbeSegment
from hermes_stream.engine.embedding_probe import embedding_mass
from hermes_stream.engine.ingest import Piece
from hermes_stream.engine.opening import commit_prefix, open_stream, reserved_positions
from hermes_stream.engine.probe_text import probe_embeddings
from hermes_stream.engine.stream import Signals, Stream, memory_view
from hermes_stream.errors import ConfigError
from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import MemoryVersion
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Policy, Probe
from hermes_stream.policies.hermes_prompts import global_prompt, local_prompt, mixed_prompt
from hermes_stream.policies.spec import parse_memory
from hermes_stream.stages import EVICT, PLACE, PROBE, SCORE, TEXT, VISION
from hermes_stream.types import Frame, VisualTokens

_T = TypeVar("_T")


@torch.inference_mode()
def measure_cost(
    adapter: Adapter, policy: Policy, pictures: Sequence[NDArray[np.uint8]], *, chunk_frames: int, n_intervals: int
) -> MemoryCost:
    """Fill a memory with these pictures, over and over, then take intervals apart.

    Raises ConfigError for a policy that never evicts rows, and for intervals that are not whole grids.
    """
    facts = adapter.facts
    if policy.budget_tokens is None or policy.ingests != "tokens":
        raise ConfigError(f"{policy.name} evicts no rows of a memory; measure a policy that does, such as hermes")
    if policy.front_ends:
        raise ConfigError(f"{policy.title}: measured is what a memory costs; leave {policy.front_ends[0].name} out")
    if chunk_frames % facts.frames_per_grid:
        raise ConfigError(f"{chunk_frames} frames are no whole grids of {facts.frames_per_grid}; give a multiple")
    encoded = _Encoded(adapter)
    stream = open_stream(cast(Adapter, encoded), policy, chunk_frames=chunk_frames, keep_raw=True, seed=0)
    if stream.held_back:
        raise ConfigError(f"{policy.name} holds frames back, and so do other frames cost than came; measure another")
    commit_prefix(stream)
    frames = (Frame(float(second), picture) for second, picture in zip(count(), cycle(pictures), strict=False))
    _fill(stream, encoded, frames)
    intervals = tuple(_measure(stream, encoded, list(islice(frames, chunk_frames))) for _ in range(n_intervals))
    pass_bytes = adapter.text_sizes.n_weights * torch.empty(0, dtype=facts.dtype).element_size()
    return MemoryCost(intervals, pass_bytes)


class _Encoded:
    """An adapter whose next frames are encoded already, so that their encoding can be timed by itself."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.tokens: VisualTokens | None = None

    def embed(self, frames: Sequence[Frame], **_: Any) -> VisualTokens:  # noqa: ARG002
        assert self.tokens is not None
        return self.tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)


def _fill(stream: Stream, encoded: _Encoded, frames: Iterator[Frame]) -> None:
    """Watch until the policy has evicted. The first interval's pictures stand in for all: values cost no time."""
    while stream.n_compressions == 0:
        batch = list(islice(frames, stream.chunk_frames))
        if encoded.tokens is None or stream.adapter.facts.has_absolute_time:
            encoded.tokens = encoded.adapter.embed(batch, since_seconds=0.0)
        piece = Piece(stream, batch)
        stream.adapter.run(PackedBatch(piece.segments(), stream.adapter.rope))
        piece.finish()


def _measure(stream: Stream, encoded: _Encoded, frames: Sequence[Frame]) -> Interval:
    adapter, device = encoded.adapter, stream.memory.shape.device
    seconds: dict[str, float] = {}
    encoded.tokens, seconds[VISION] = timed(lambda: adapter.embed(frames, since_seconds=0.0), device)
    seconds[TEXT], plain_seconds = _run_plain(stream, frames)
    piece = Piece(stream, frames)
    commit, *probe_segments = piece.segments()
    assert isinstance(commit, CommitSegment)
    batch = PackedBatch([commit, *probe_segments], adapter.rope)
    _, packed_seconds = timed(lambda: adapter.run(batch), device)
    end = _Ending(stream, commit, [segment for segment in probe_segments if isinstance(segment, ProbeSegment)])
    seconds |= end.seconds
    n_held = [layer.n_held for layer in commit.pending.base.layers]
    n_new, sizes = commit.embeddings_TE.shape[0], adapter.text_sizes
    n_rows = [n + n_new for n in n_held]
    n_prompts = [adapter.guidance(prompt(None)).shape[0] for prompt in (local_prompt, mixed_prompt, global_prompt)]
    flops: dict[str, float] = {
        VISION: adapter.encoding_flops(frames),
        TEXT: chunk_flops(sizes, n_held, n_new),
        **end.flops,
    }
    piece.finish()
    return Interval(
        seconds,
        flops,
        n_new,
        end.prompt_tokens,
        end.intervals_per_placement,
        packed_seconds,
        plain_seconds,
        released_flops=sum(shortcut_flops(sizes, n_rows, n) for n in n_prompts),
        released_passes_flops=sum(probe_flops(sizes, n_rows, n) for n in n_prompts),
    )


def _as_one_head(version: MemoryVersion) -> MemoryVersion:
    """As if all heads held the rows of the first, which the plain policy takes for granted; values cost no time."""
    if all(layer.table.n_heads == 1 for layer in version.layers):
        return version
    layers = tuple(
        replace(
            layer,
            table=TokenTable(layer.table.data_CHN[:, :1], layer.table.times_SHN[:, :1]),
            n_dropped_H=layer.n_dropped_H[:1],
        )
        for layer in version.layers
    )
    return replace(version, layers=layers)


def _run_plain(stream: Stream, frames: Sequence[Frame]) -> tuple[float, float]:
    """Seconds of the text model on these frames alone, and of the end of the interval under the plain policy."""
    device = stream.memory.shape.device
    twin = stream.fork()
    # Rows of its own: a second writer behind the same rows would have to copy them first.
    every_row = tuple(LayerPlan(torch.arange(n, device=device)) for n in twin.memory.current.held_tokens)
    twin.memory.apply(Plan(every_row))
    twin.memory.current = _as_one_head(twin.memory.current)
    commit = Piece(twin, frames).segments()[0]
    assert isinstance(commit, CommitSegment)
    batch = PackedBatch([commit], stream.adapter.rope)
    _, chunk_seconds = timed(lambda: stream.adapter.run(batch), device)
    version = twin.memory.commit(commit.pending)
    twin.policy = parse_memory(PLAIN).with_budget(min(stream.policy.layer_budgets(len(version.layers)) or ()))
    state = twin.policy.start(twin.facts)

    def finish() -> None:
        plan, _ = twin.policy.after_chunk(memory_view(version, twin), state)
        twin.memory.apply(plan)

    _, plain_seconds = timed(finish, device)
    return chunk_seconds, plain_seconds


class _Ending:
    """The end of one interval, on a fork: probe, scores, eviction and re-placement by themselves."""

    def __init__(self, stream: Stream, commit: CommitSegment, segments: Sequence[ProbeSegment]) -> None:
        self.seconds: dict[str, float] = {}
        self.flops: dict[str, float] = {}
        self._device = stream.memory.shape.device
        self._end = stream.fork()
        # The rows that the probe sees are written: it can be run behind the forward as well as in it.
        before, version = commit.pending.base, self._end.memory.commit(commit.pending)
        probes = stream.policy.probes(version.held_tokens, stream.history, stream.facts)
        mass = self._probe(probes, segments)
        view, state, policy = memory_view(version, self._end, Signals(mass)), stream.state, stream.policy
        plan, _ = self._part(SCORE, lambda: policy.after_chunk(view, state))
        memory = self._end.memory
        self._part(EVICT, lambda: memory.fork().apply(replace(plan, positions=Positions.KEEP)))
        evicted = memory.apply(replace(plan, positions=Positions.KEEP))
        placed = self._part(PLACE, lambda: memory.fork().apply(Plan(positions=stream.policy.placement)))
        limit = memory.shape.max_positions - reserved_positions(memory.shape.max_positions)
        n_taken = max(evicted.next_position - before.next_position, 1)
        is_eager = plan.positions is not Positions.KEEP
        self.intervals_per_placement = 1 if is_eager else max((limit - placed.next_position) // n_taken, 1)
        self.seconds[PLACE] /= self.intervals_per_placement
        self.flops[PLACE] /= self.intervals_per_placement

    def _probe(self, probes: Sequence[Probe], segments: Sequence[ProbeSegment]) -> dict[str, dict[int, torch.Tensor]]:
        """Attention by probe and layer."""
        adapter, version = self._end.adapter, self._end.memory.current
        sizes, n_rows = adapter.text_sizes, [layer.n_held for layer in version.layers]
        self.prompt_tokens = tuple(probe_embeddings(adapter, probe).shape[0] for probe in probes)
        n_of = dict(zip((probe.name for probe in probes), self.prompt_tokens, strict=True))
        shortcuts = [probe for probe in probes if probe.queries == "embedding"]
        self.flops[PROBE] = sum(
            shortcut_flops(sizes, [n_rows[layer] for layer in probe.layers], n_of[probe.name])
            if probe in shortcuts
            else probe_flops(sizes, n_rows, n_of[probe.name], probe.layers)
            for probe in probes
        )

        def run() -> dict[str, dict[int, torch.Tensor]]:
            if segments:
                adapter.run(PackedBatch(segments, adapter.rope))
            return {probe.name: embedding_mass(adapter, version, probe) for probe in shortcuts}

        mass, self.seconds[PROBE] = timed(run, self._device)
        names = [probe.name for probe in probes if probe not in shortcuts]
        return mass | {name: segment.mass for name, segment in zip(names, segments, strict=True)}

    def _part(self, name: str, function: Callable[[], _T]) -> _T:
        """Run twice: for the time, and for the number of operations, since counting takes time."""
        result, self.seconds[name] = timed(function, self._device)
        with ArithmeticCounter() as counter:
            function()
        self.flops[name] = counter.n_operations
        return result
