"""Streams begin here: what cannot work is refused before the first frame.

Shape letters: T tokens, E model width.
"""

from __future__ import annotations

import torch

from hermes_stream.engine.batch import CommitSegment, PackedBatch
from hermes_stream.engine.parallel.packed import CANNOT_RECALL
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import ConfigError, PolicyError
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.models.adapter import Adapter, ModelFacts
from hermes_stream.policies.base import Policy, StreamFacts

# Positions kept free for a question and its answer, as in HERMES' release; at most an eighth of a small model's.
_RESERVED_POSITIONS = 1024


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
    if policy.memory_bits != 16 and adapter.facts.n_ranks > 1:
        raise ConfigError("a model over several devices holds rows in its own precision; leave memory_bits out")
    state = policy.start(facts)
    _check_positions(adapter.facts, policy, facts, chunk_frames)
    memory = new_memory(adapter, policy, memory_shape(adapter.facts), keep_raw=keep_raw)
    front_states = (None,) * len(policy.front_ends)
    texts = tuple(adapter.guidance(text) for text in policy.texts)
    stream = Stream(adapter, memory, policy, facts, state, chunk_frames, front_states=front_states, texts=texts)
    if adapter.facts.n_ranks > 1:
        _check_recall(stream)
    return stream


def new_memory(adapter: Adapter, policy: Policy, shape: MemoryShape, *, keep_raw: bool) -> KVMemory:
    """An empty memory as the policy wants it."""
    return KVMemory(
        shape,
        adapter.rope,
        budgets_L=policy.layer_budgets(shape.n_layers),
        compaction=policy.placement,
        keep_raw=keep_raw,
        memory_bits=policy.memory_bits,
        archive=policy.archive,
        backend=adapter.backend,
    )


def commit_prefix(stream: Stream, prefix_TE: torch.Tensor | None = None) -> None:
    """Put what stands before the first frame into an empty memory; by default what the family puts there, `[T, E]`."""
    prefix_TE = stream.adapter.prefix() if prefix_TE is None else prefix_TE
    pending = stream.memory.begin_prefix(prefix_TE.shape[0])
    stream.adapter.run(PackedBatch([CommitSegment(prefix_TE, pending)], stream.adapter.rope))
    stream.memory.commit(pending)


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


def _check_recall(stream: Stream) -> None:
    """Refuse what no rank alone can choose, where it shows before the first frame."""
    policy, view = stream.policy, stream.view_for(None)
    recalls = policy.archive is not None or policy.recalls_at == "always" or view.is_chosen
    if recalls or not view.fresh_sees_held:
        raise PolicyError(f"{policy.title}: {CANNOT_RECALL}")


def _check_signals(facts: ModelFacts, policy: Policy) -> None:
    """Refuse what the family cannot give."""
    for front_end in policy.front_ends:
        if front_end.needs_saliency and not facts.has_saliency:
            raise PolicyError(
                f"{front_end.name} needs the attention of the vision encoder, which {facts.family} does not give; "
                "use dtd or change-gate with it"
            )
