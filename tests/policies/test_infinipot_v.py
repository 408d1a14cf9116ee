"""InfiniPot-V: its specification's example, random streams against the oracle, and its limit cases.

Shape letters: K key/value heads, T new tokens, D head dimension.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PlanError
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.infinipot_v import InfiniPotV
from hermes_stream.policies.sliding_window import SlidingWindow
from hermes_stream.types import VisualTokens

from ..oracles.eviction_oracle import Token, infinipot_keeps
from .harness import append, append_prefix, empty_memory, hand_made_view
from .test_sampling import held_identities, stream_of

N_LAYERS, N_PREFIX = 2, 1


def frames(first: int, n_frames: int, tokens_per_frame: int) -> VisualTokens:
    """Of several tokens the first of a frame is text; which cells a frame shows changes with every third frame."""
    n, has_text = n_frames * tokens_per_frame, tokens_per_frame > 1
    frame_N = torch.arange(n_frames).repeat_interleave(tokens_per_frame)
    cell_N = torch.arange(n) % tokens_per_frame
    is_text_N = (cell_N == 0) & has_text
    column_N = torch.where(is_text_N, -1, (cell_N + (first + frame_N) // 3) % (tokens_per_frame + 1))
    return VisualTokens(
        embeddings_NE=torch.zeros(n, 3),
        positions_RN=torch.arange(n)[None],
        n_positions=n,
        frame_N=frame_N,
        row_N=torch.where(is_text_N, -1, 0),
        column_N=column_N if has_text else torch.zeros(n, dtype=torch.int64),
        times_seconds_N=(first + frame_N).double(),
        n_frames=n_frames,
        n_grids=n_frames,
        is_text_N=is_text_N,
    )


def view_of(memory: KVMemory, tokens_per_frame: int) -> MemoryView:
    version = memory.current
    layers = tuple(LayerView.of(layer, version.n_prefix, memory.rope, {}) for layer in version.layers)
    return MemoryView(layers, None, version.frames_seen, version.time_seconds, version.next_position, tokens_per_frame)


def decide(policy: InfiniPotV, memory: KVMemory, tokens_per_frame: int) -> Plan:
    plan, _ = policy.after_chunk(view_of(memory, tokens_per_frame), None)
    return plan


def example_memory() -> KVMemory:
    """The specification's eight frames of one token, in one head; norms of values in the second component."""
    memory = empty_memory(N_LAYERS, n_heads=1)
    append_prefix(memory, N_PREFIX)
    past = [(0.0, 1.0), (1.0, 0.0), (0.6, 0.8), (1.0, 0.0), (0.8, 0.6), (1.0, 0.0)]
    raw_KTD = torch.tensor([[*past, (1.0, 0.0), (1.0, 0.0)]])
    value_KTD = torch.tensor([[(0.0, norm) for norm in (1.0, 5.0, 2.0, 4.0, 1.0, 3.0, 1.0, 1.0)]])
    append(memory, memory.begin_vision(frames(0, 8, 1), 7.0), raw_KTD, value_KTD)
    return memory


def test_the_specifications_example() -> None:
    """Row 0 differs most from the recent frames 6 and 7; of the others 1, 3 and 5 have the largest values."""
    for heads, kept in (("separate", [[0, 1, 3, 5, 6, 7]]), ("mean", [0, 1, 3, 5, 6, 7])):
        plan = decide(InfiniPotV(budget=8, heads=heads), example_memory(), 1)
        assert plan.layers is not None
        assert [layer.keep.tolist() for layer in plan.layers] == [kept] * N_LAYERS


def test_below_the_cap_everything_stays() -> None:
    assert decide(InfiniPotV(budget=9), example_memory(), 1).is_identity


def test_rotated_keys_see_distance_where_raw_ones_do_not() -> None:
    """At a quarter turn per position, the row two before the newest points the other way: it looks novel."""
    memory = empty_memory(N_LAYERS, n_heads=1)
    append_prefix(memory, N_PREFIX)
    raw_KTD = torch.tensor([[(0.6, 0.8), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]])
    append(memory, memory.begin_vision(frames(0, 4, 1), 3.0), raw_KTD, torch.ones(1, 4, 2))
    options: dict[str, Any] = {"budget": 4, "keep": 0.5, "alpha": 1.0, "heads": "mean"}
    raw, rotated = (decide(InfiniPotV(**options, keys=keys), memory, 1) for keys in ("raw", "rotated"))
    assert raw.layers is not None
    assert rotated.layers is not None
    assert raw.layers[0].keep.tolist() == [0, 3]
    assert rotated.layers[0].keep.tolist() == [1, 3]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    budget=st.integers(4, 40),
    chunk=st.integers(1, 6),
    keep=st.sampled_from([0.5, 0.75, 1.0]),
    recent=st.sampled_from([0.0, 0.25, 0.6]),
    alpha=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
)
def test_each_head_keeps_what_the_oracle_keeps(
    seed: int, budget: int, chunk: int, keep: float, recent: float, alpha: float
) -> None:
    """Over several compressions, with text between frames and cells that come and go."""
    n_heads, per_frame, generator = 2, 4, torch.Generator().manual_seed(seed)
    policy = InfiniPotV(budget=budget, keep=keep, recent=recent, alpha=alpha)
    memory = empty_memory(N_LAYERS, n_heads=n_heads)
    append_prefix(memory, N_PREFIX)
    seen: list[list[Token]] = [[] for _ in range(n_heads)]
    held: list[list[int]] = [[] for _ in range(n_heads)]
    n_keep = max(int(keep * (budget // per_frame)), 1) * per_frame
    for first in range(0, 7 * chunk, chunk):
        tokens = frames(first, chunk, per_frame)
        raw_KTD, value_KTD = (torch.randn(n_heads, chunk * per_frame, 2, generator=generator) for _ in range(2))
        append(memory, memory.begin_vision(tokens, float(first)), raw_KTD, value_KTD)
        memory.apply(decide(policy, memory, per_frame))
        memory.check_invariants()
        for head in range(n_heads):
            n_before = len(seen[head])
            seen[head] += [
                Token(n_before + index, first + frame, None if row < 0 else (row, column), key, value)
                for index, (frame, row, column, key, value) in enumerate(
                    zip(
                        *(tokens.frame_N.tolist(), tokens.row_N.tolist(), tokens.column_N.tolist()),
                        *(raw_KTD[head].tolist(), value_KTD[head].tolist()),
                        strict=True,
                    )
                )
            ]
            held[head] += range(n_before, len(seen[head]))
            n_rows = len(held[head])
            if n_rows >= budget and n_rows > n_keep:
                n_protected = n_keep - round((1 - alpha) * n_keep)
                held[head] = infinipot_keeps(
                    [seen[head][number] for number in held[head]],
                    n_keep=n_keep,
                    n_recent=min(int(recent * n_rows / per_frame), n_protected // per_frame),
                    alpha=alpha,
                    newest_frame=first + chunk - 1,
                )
    for layer in memory.current.layers:
        identity_KN = layer.table.expand_heads(n_heads).identity_HN[:, N_PREFIX:] - N_PREFIX
        assert identity_KN.tolist() == held


def test_recent_frames_alone_are_a_window() -> None:
    """Limit case: all of C for the newest frames, and C = M."""
    policy = InfiniPotV(budget=12, keep=1.0, recent=1.0, alpha=1.0)
    for n_frames in (3, 5, 14):
        ours = stream_of(policy, n_frames, tokens_per_frame=3, chunk=2)
        window = stream_of(SlidingWindow(budget=12), n_frames, tokens_per_frame=3, chunk=2)
        assert held_identities(ours) == held_identities(window)


def test_values_alone_choose_where_alpha_is_zero() -> None:
    """Limit case: nothing is protected, not even the newest frame."""
    plan = decide(InfiniPotV(budget=8, keep=0.5, alpha=0.0, heads="mean"), example_memory(), 1)
    assert plan.layers is not None
    assert plan.layers[0].keep.tolist() == [1, 2, 3, 5]


def test_a_view_without_tensors_is_refused() -> None:
    view = hand_made_view([[0, 1, 2]], frames=[[0, 1, 2]])
    with pytest.raises(PlanError, match="no keys and values"):
        InfiniPotV(budget=2).after_chunk(view, None)
