"""StreamMem: its specification's example, random streams against the oracle, and its limit cases."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PlanError
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.stream_mem import StreamMem

from ..oracles.eviction_oracle import streammem_keeps
from ..oracles.prototype_oracle import middle, weighted_mean
from .harness import FakeStream, append, append_prefix, empty_memory, hand_made_view, visual_tokens

N_LAYERS, N_PREFIX = 2, 1


def memory_of(n_frames: int, per_frame: int, raw_KTD: torch.Tensor, value_KTD: torch.Tensor) -> KVMemory:
    memory = empty_memory(N_LAYERS, n_heads=raw_KTD.shape[0])
    append_prefix(memory, N_PREFIX)
    append(memory, memory.begin_vision(visual_tokens(n_frames, per_frame), n_frames - 1.0), raw_KTD, value_KTD)
    return memory


def view_of(memory: KVMemory, mass: list[torch.Tensor], per_frame: int) -> MemoryView:
    version = memory.current
    layers = tuple(
        LayerView.of(layer, version.n_prefix, memory.rope, {"template": mass_KN})
        for layer, mass_KN in zip(version.layers, mass, strict=True)
    )
    return MemoryView(layers, None, version.frames_seen, 0.0, version.next_position, per_frame)


@pytest.mark.parametrize(("budget", "kept"), [(4, [1, 2, 3]), (3, [1, 3])])
def test_the_specifications_example(budget: int, kept: list[int]) -> None:
    """Two old and two new tokens, a = .1 .4 .2 .3; the new frame's prototype is 0.4 k2 + 0.6 k3.

    The specification keeps three rows and the prototype; here the prototype counts, so that this takes a budget of 4,
    and a frame more, which nothing attends to, to exceed it.
    """
    before, keys = [(7.0, 7.0)] * 2, [(1.0, 0.0), (2.0, 0.0), (10.0, 5.0), (20.0, -5.0)]
    values = [(0.0, 1.0), (0.0, 2.0), (1.0, 0.0), (0.0, 10.0)]
    memory = memory_of(3, 2, torch.tensor([before + keys]), torch.tensor([before + values]))
    mass = [torch.tensor([[0.0, 0.0, 0.1, 0.4, 0.2, 0.3]])] * N_LAYERS
    plan, state = StreamMem(budget=budget).after_chunk(view_of(memory, mass, 2), 2)
    assert state == 3
    for layer in memory.apply(plan).layers:
        table = layer.table.slice(N_PREFIX)
        (place,) = (table.kind_HN[0] == TokenKind.SUMMARY).nonzero()[:, 0].tolist()
        assert place == budget - 1, "in the middle of its frame, 5.5, which rounds to the newest row's 6"
        identities = table.identity_HN[0].tolist()
        assert [identity - N_PREFIX - 2 for identity in identities[:place] + identities[place + 1 :]] == kept
        assert layer.raw_keys(memory.rope)[0, N_PREFIX + place].tolist() == pytest.approx([16.0, -1.0])
        assert layer.values[0, N_PREFIX + place].tolist() == pytest.approx([0.4, 6.0])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_old=st.integers(0, 3),
    n_new=st.integers(1, 6),
    budget=st.integers(3, 14),
    prototype=st.sampled_from(["weighted", "mean", "none"]),
)
def test_an_eviction_equals_the_oracle(seed: int, n_old: int, n_new: int, budget: int, prototype: str) -> None:
    n_frames, per_frame, generator = n_old + n_new, 3, torch.Generator().manual_seed(seed)
    raw_KTD, value_KTD = (torch.randn(2, n_frames * per_frame, 2, generator=generator) for _ in range(2))
    memory = memory_of(n_frames, per_frame, raw_KTD, value_KTD)
    mass = [torch.rand(2, n_frames * per_frame, generator=generator) for _ in range(N_LAYERS)]
    policy = StreamMem.model_validate({"budget": budget, "prototype": prototype})
    plan, _ = policy.after_chunk(view_of(memory, mass, per_frame), n_old)
    version = memory.apply(plan)
    memory.check_invariants()
    if n_frames * per_frame <= budget:
        assert plan.is_identity
        return
    n_prototypes = 0 if prototype == "none" else min(n_new, budget // 2)
    for layer, mass_KN in zip(version.layers, mass, strict=True):
        table, attention = layer.table.slice(N_PREFIX), mass_KN.mean(dim=0).tolist()
        is_summary_N = table.kind_HN[0] == TokenKind.SUMMARY
        assert (table.identity_HN[0, ~is_summary_N] - N_PREFIX).tolist() == streammem_keeps(
            attention, budget - n_prototypes
        )
        assert table.frame_HN[0, is_summary_N].tolist() == list(range(n_frames - n_prototypes, n_frames))
        for place in is_summary_N.nonzero()[:, 0].tolist():
            frame = int(table.frame_HN[0, place])
            rows = range(frame * per_frame, (frame + 1) * per_frame)
            weights = [attention[row] if prototype == "weighted" else 1.0 for row in rows]
            assert table.position_RHN[0, 0, place] == middle([N_PREFIX + row for row in rows])
            made = layer.raw_keys(memory.rope)[:, N_PREFIX + place], layer.values[:, N_PREFIX + place]
            for head in range(2):
                for x_KTD, mean_KD in zip((raw_KTD, value_KTD), made, strict=True):
                    expected = weighted_mean(x_KTD[head, rows.start : rows.stop].tolist(), weights)
                    assert mean_KD[head].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_template_that_looks_at_everything_alike_is_a_window() -> None:
    """Limit case, without prototypes: ties go to the newer row."""
    generator = torch.Generator().manual_seed(0)
    memory = memory_of(5, 2, *(torch.randn(1, 10, 2, generator=generator) for _ in range(2)))
    plan, _ = StreamMem(budget=4, prototype="none").after_chunk(view_of(memory, [torch.ones(1, 10)] * N_LAYERS, 2), 0)
    assert plan.layers is not None
    assert [layer.keep.tolist() for layer in plan.layers] == [[6, 7, 8, 9]] * N_LAYERS


def test_a_frame_that_nobody_looks_at_has_a_plain_mean() -> None:
    memory = memory_of(2, 2, torch.ones(1, 4, 2), torch.tensor([[(0.0, 0.0), (0.0, 0.0), (1.0, 0.0), (3.0, 0.0)]]))
    mass = [torch.tensor([[0.5, 0.5, 0.0, 0.0]])] * N_LAYERS
    plan, _ = StreamMem(budget=3).after_chunk(view_of(memory, mass, 2), 1)
    assert memory.apply(plan).layers[0].values[0, -1].tolist() == [2.0, 0.0]


def test_old_prototypes_are_rows_like_others() -> None:
    """Evicted when nothing looks at them, and counted never."""
    stream = FakeStream(StreamMem(budget=9), n_layers=2)
    for _ in range(12):
        stream.advance(2)
    for layer in stream.memory.current.layers:
        is_summary_N = layer.table.kind_HN[0] == TokenKind.SUMMARY
        assert 2 <= int(is_summary_N.sum()) < 9
        assert not layer.table.count_HN[0, is_summary_N].any()


def test_the_probe_is_the_template_without_a_question() -> None:
    facts = StreamFacts(n_layers=3, tokens_per_frame=2, family="any")
    assert StreamMem(budget=4).probes([4, 4, 4], (), facts) == ()
    (probe,) = StreamMem(budget=4).probes([5, 5, 5], (), facts)
    assert (probe.kind, probe.text, probe.layers) == ("question", "", range(3))


def test_a_view_without_the_probe_is_refused() -> None:
    with pytest.raises(PlanError, match="needs the attention of its probe"):
        StreamMem(budget=2, prototype="none").after_chunk(hand_made_view([[0, 1, 2]], frames=[[0, 1, 2]]), 0)
