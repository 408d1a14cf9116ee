"""CacheFlow: how rows are packed, which blocks are recalled by the oracle's consensus, and the limit cases.

Shape letters: K key/value heads, H query heads, T tokens, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.recall import Recalled
from hermes_stream.policies.cache_flow import CacheFlow, CacheFlowState

from ..oracles import retrieval_oracle as oracle
from .harness import HEAD_DIM, HEADS, FakeStream, append, visual_tokens
from .recalling import asked_in, recalled_tokens

BLOCK = 4


def stream_of_sizes(policy: CacheFlow, sizes: Sequence[Sequence[int]], seed: int = 0) -> FakeStream:
    """Intervals of frames that a front-end left of the given sizes; a block is 4 rows."""
    stream = FakeStream(policy, n_layers=3, tokens_per_frame=BLOCK, prefix_tokens=2, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for interval in sizes:
        for size in interval:
            tokens = visual_tokens(1, size, stream.memory.current.grids_seen)
            raw_KTD, value_KTD = (torch.randn(HEADS, size, HEAD_DIM, generator=generator) for _ in range(2))
            append(stream.memory, stream.memory.begin_vision(tokens, 0.0), raw_KTD, value_KTD)
        plan, stream.state = policy.after_chunk(stream.view(), stream.state)
        plan.validate(stream.memory.current.held_tokens)
        stream.memory.apply(plan)
        stream.memory.check_invariants()
    return stream


SIZES = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(sizes=SIZES, budget=st.integers(BLOCK, 12))
def test_rows_are_packed_as_they_come(sizes: list[list[int]], budget: int) -> None:
    """Whole blocks are archived, each row once; the rest waits in the window, which holds the newest rows."""
    stream = stream_of_sizes(CacheFlow(budget=budget), sizes)
    n_seen = sum(map(sum, sizes))
    for layer in stream.memory.current.layers:
        held = (layer.table.identity_HN[0, 2:] - 2).tolist()
        assert held == list(range(n_seen))[-budget:]
        n_packed = n_seen // BLOCK * BLOCK
        archived = [] if n_packed == 0 else (layer.archive.table.identity_HN[0] - 2).tolist()
        assert archived == list(range(n_packed))
    state: CacheFlowState = stream.state
    assert sum(size_B.numel() for size_B in state.index.sizes) == n_seen // BLOCK


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    sizes=SIZES,
    budget=st.integers(BLOCK, 12),
    blocks=st.integers(1, 3),
    cut=st.integers(1, 3),
)
def test_the_choice_is_the_oracles(seed: int, sizes: list[list[int]], budget: int, blocks: int, cut: int) -> None:
    """One choice for all layers, among blocks that left the window, less what it holds of them."""
    policy = CacheFlow(budget=budget, blocks=blocks, cut=cut)
    stream = stream_of_sizes(policy, sizes, seed)
    n_gone = max(sum(map(sum, sizes)) - budget, 0)
    n_candidates = -(-n_gone // BLOCK)
    generator = torch.Generator().manual_seed(seed)
    queries = [torch.randn(2 * HEADS, 3, HEAD_DIM, generator=generator) for _ in range(3)]
    rankings = []
    for layer in (0, 2):
        query = oracle.question(queries[layer].tolist())
        scores = []
        for block in range(n_candidates):
            rows_N = torch.arange(block * BLOCK, (block + 1) * BLOCK)
            keys, _ = stream.memory.current.layers[layer].archive.read(rows_N, torch.device("cpu"))
            scores.append(oracle.score(query, oracle.representative(keys.tolist(), 2 * HEADS), "cosine"))
        rankings.append(sorted(range(n_candidates), key=lambda block: -scores[block])[: cut * blocks])
    expected = sorted(oracle.blocks_agreed(*rankings, blocks))
    for layer, recalled in enumerate(settle(stream, queries)):
        assert recalled.held_rows is None
        tokens = recalled_tokens(stream, layer, recalled)
        assert tokens == [
            row for block in expected for row in range(block * BLOCK, block * BLOCK + BLOCK) if row < n_gone
        ]


def settle(stream: FakeStream, queries: Sequence[torch.Tensor]) -> Sequence[Recalled]:
    asked = [asked_in(stream, layer, query_HTD) for layer, query_HTD in enumerate(queries)]
    first = [stream.policy.recall(layer, one, stream.state) for layer, one in enumerate(asked)]
    assert all(recalled_tokens(stream, layer, recalled) == [] for layer, recalled in enumerate(first))
    return stream.policy.settle(asked, first, stream.state)


def test_as_many_blocks_as_the_window_holds() -> None:
    stream = stream_of_sizes(CacheFlow(budget=11), [[4] * 3] * 4)
    tokens = recalled_tokens(stream, 0, settle(stream, [torch.ones(HEADS, 1, HEAD_DIM)] * 3)[0])
    assert len({token // BLOCK for token in tokens}) == 2


def test_nothing_is_recalled_while_the_window_holds_everything() -> None:
    for sizes in ([], [[4] * 3]):
        stream = stream_of_sizes(CacheFlow(budget=12), sizes)
        for layer, recalled in enumerate(settle(stream, [torch.ones(HEADS, 1, HEAD_DIM)] * 3)):
            assert recalled.held_rows is None
            assert recalled_tokens(stream, layer, recalled) == []
