"""LiveVLM as a policy: whole streams against the oracle, what a question reads, and its limit cases.

Shape letters: K key/value heads, H query heads, T tokens of a question, N rows, D head dimension.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PlanError
from hermes_stream.memory.archive import EMPTY_ARCHIVE
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.live_vlm import LiveVLM
from hermes_stream.policies.recall import Asked

from ..oracles.live_vlm_oracle import bucketing_keeps, page_attention
from .harness import HEADS, append_frames, append_prefix, empty_memory

N_LAYERS, N_PREFIX, PER_FRAME = 2, 2, 3
FACTS = StreamFacts(N_LAYERS, PER_FRAME, "any", prefix_tokens=N_PREFIX)


def memory_with_prefix() -> KVMemory:
    memory = empty_memory(N_LAYERS)
    append_prefix(memory, N_PREFIX)
    return memory


def view_of(memory: KVMemory, mass: list[torch.Tensor], budget: int) -> MemoryView:
    version = memory.current
    layers = tuple(
        LayerView.of(layer, version.n_prefix, memory.rope, {"newest": mass_KN})
        for layer, mass_KN in zip(version.layers, mass, strict=True)
    )
    return MemoryView(layers, budget, version.frames_seen, 0.0, version.next_position, PER_FRAME)


def random_mass(memory: KVMemory, generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.rand(HEADS, n, generator=generator) for n in memory.current.held_tokens]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    budget=st.integers(3, 40),
    short=st.integers(1, 3),
    top=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_stream_equals_the_oracle(seed: int, sizes: list[int], budget: int, short: int, top: float) -> None:
    """Each layer by itself: the places in the stream that it holds, after every interval."""
    memory, generator = memory_with_prefix(), torch.Generator().manual_seed(seed)
    policy = LiveVLM(budget=budget, short=short, top=top)
    n_short = PER_FRAME * max(min(short, budget // PER_FRAME // 4), 1)
    held: list[list[int]] = [[] for _ in range(N_LAYERS)]
    n_seen = 0
    for n_frames in sizes:
        append_frames(memory, n_frames, PER_FRAME, generator)
        mass = random_mass(memory, generator)
        plan, _ = policy.after_chunk(view_of(memory, mass, budget), FACTS)
        memory.apply(plan)
        n_new = n_frames * PER_FRAME
        for layer, mass_KN in enumerate(mass):
            held[layer] += range(n_seen + 1, n_seen + n_new + 1)
            if len(held[layer]) > budget:
                score = mass_KN.mean(dim=0).tolist()
                n_long = len(held[layer]) - n_short
                n_keep = budget - n_short
                long = [held[layer][i] for i in kept(score[:n_long], held[layer][:n_long], n_keep, int(top * n_keep))]
                held[layer] = long + held[layer][n_long:]
            table = memory.current.layers[layer].table.slice(N_PREFIX)
            assert (table.identity_HN[0] - N_PREFIX + 1).tolist() == held[layer]
        n_seen += n_new


def kept(scores: list[float], places: list[int], n_keep: int, n_top: int) -> list[int]:
    return bucketing_keeps(scores, places, places[-1], n_keep, n_top, 1) if n_keep else []


def test_a_budget_of_one_frame_holds_the_newest() -> None:
    memory, generator = memory_with_prefix(), torch.Generator().manual_seed(0)
    append_frames(memory, 5, PER_FRAME, generator)
    plan, _ = LiveVLM(budget=4).after_chunk(view_of(memory, random_mass(memory, generator), 4), FACTS)
    memory.apply(plan)
    for layer in memory.current.layers:
        assert layer.table.frame_HN[0, N_PREFIX + 1 :].tolist() == [4, 4, 4]
        assert layer.n_held == N_PREFIX + 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20), n_frames=st.integers(1, 9), page=st.integers(1, 5), pages=st.floats(0.01, 1.0))
def test_a_question_reads_the_best_pages_and_the_short_memory(
    seed: int, n_frames: int, page: int, pages: float
) -> None:
    memory, generator = memory_with_prefix(), torch.Generator().manual_seed(seed)
    append_frames(memory, n_frames, PER_FRAME, generator)
    query_HTD = torch.randn(2 * HEADS, 3, 2, generator=generator)
    held = LayerView.of(memory.current.layers[1], N_PREFIX, memory.rope, {})
    policy = LiveVLM(budget=24, page=page, pages=pages)  # a quarter of 8 frames are 2
    recalled = policy.recall(1, Asked(query_HTD, query_HTD, EMPTY_ARCHIVE, held), FACTS)
    n_long, n_rows, page_rows = max(n_frames - 2, 0) * PER_FRAME, n_frames * PER_FRAME, min(page, PER_FRAME)
    if n_long == 0:
        assert recalled.held_rows is None
        return
    score = page_attention(query_HTD.tolist(), held.tensors.raw_keys_KND[:, :n_long].tolist(), page_rows)
    n_best = sum(1 for number in range(len(score)) if number < pages * len(score) - 1e-6)
    best = sorted(range(len(score)), key=lambda number: -score[number])[:n_best]
    expected = [row for row in range(n_rows) if row >= n_long or row // page_rows in best]
    assert recalled.archive_rows is None
    assert recalled.held_rows is not None
    assert recalled.held_rows.tolist() == expected
    if pages == 1.0:
        assert len(expected) == n_rows


def test_all_pages_are_the_memory() -> None:
    """Limit case: no retrieval."""
    memory, generator = memory_with_prefix(), torch.Generator().manual_seed(0)
    append_frames(memory, 9, PER_FRAME, generator)
    query_HTD = torch.randn(HEADS, 2, 2, generator=generator)
    held = LayerView.of(memory.current.layers[0], N_PREFIX, memory.rope, {})
    recalled = LiveVLM(budget=24, pages=1.0).recall(0, Asked(query_HTD, query_HTD, EMPTY_ARCHIVE, held), FACTS)
    assert recalled.held_rows is not None
    assert recalled.held_rows.tolist() == list(range(27))


def test_a_view_without_the_newest_frames_attention_is_refused() -> None:
    memory, generator = memory_with_prefix(), torch.Generator().manual_seed(0)
    append_frames(memory, 3, PER_FRAME, generator)
    view = view_of(memory, random_mass(memory, generator), 4)
    blind = MemoryView(tuple(LayerView(layer.table) for layer in view.layers), 4, 3, 0.0, 11, PER_FRAME)
    with pytest.raises(PlanError, match="needs the attention of the newest frame"):
        LiveVLM(budget=4).after_chunk(blind, FACTS)
