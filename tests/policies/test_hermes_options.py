"""The switches of HERMES that its paper ablates or leaves open, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan
from hermes_stream.memory.positions import rank_rows
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.hermes import Hermes
from hermes_stream.policies.hermes_scores import recency
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Turn

from ..oracles.hermes_released_oracle import rank_positions
from .contract import run
from .harness import FakeStream, append, append_prefix, empty_memory, visual_tokens

FACTS = StreamFacts(n_layers=10, tokens_per_frame=2, family="llava-onevision")
FULL = [100] * 10


@pytest.mark.parametrize("shares", [(1, 1, 1), (1.3, 1, 0.7), (0.7, 1.6, 0.7), (0.7, 1, 1.3)])
@pytest.mark.parametrize("n_layers", [10, 24, 28])
def test_shares_divide_the_same_budget(shares: tuple[float, float, float], n_layers: int) -> None:
    policy = Hermes(budget=600, shares=shares)
    budgets_L, groups = policy.layer_budgets(n_layers), policy.layer_groups(n_layers)
    assert 600 * n_layers - n_layers <= sum(budgets_L) <= 600 * n_layers
    per_group = [{budgets_L[layer] for layer in layers} for layers in groups.values()]
    assert all(len(budgets) == 1 for budgets in per_group)
    for budgets, share in zip(per_group, shares, strict=True):
        assert budgets.pop() == pytest.approx(600 * n_layers * share / _total(shares, groups), abs=1)


def _total(shares: tuple[float, float, float], groups: dict[str, range]) -> float:
    return sum(share * len(layers) for share, layers in zip(shares, groups.values(), strict=True))


def test_each_layer_is_held_to_its_share() -> None:
    stream = run(Hermes(budget=24, shares=(0.7, 1.6, 0.7)), [3] * 30)
    budgets_L = stream.policy.layer_budgets(stream.n_layers)
    assert stream.memory.current.held_tokens == budgets_L
    assert len(set(budgets_L or ())) == 2


def test_a_share_that_cannot_hold_a_frame_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"a budget of 1 tokens \(that of layer 7\) cannot hold one frame of 2"):
        Hermes(budget=2, shares=(1, 1, 0.7)).start(FACTS)
    with pytest.raises(PolicyError, match="expected three weights above 0"):
        parse_memory("hermes(shares=(1, 0, 1))")


@pytest.mark.parametrize("name", ["what-happens", "describe", "summarize"])
def test_prompts_of_the_ablation_are_one_text_for_all_layers(name: str) -> None:
    (probe,) = Hermes(budget=8, prompts=name).probes(FULL, (), FACTS)
    assert probe.layers == range(1, 10)
    assert probe.text in ("What happens in the video?", "Describe the video in detail.",
                          "Summarize the content of the video.")  # fmt: skip
    turn = Turn("Who is it?", "a cat")
    (probe,) = Hermes(budget=8, prompts=name).probes(FULL, [turn], FACTS)
    assert probe.text.startswith("Context summary: Question: Who is it? Answer: a cat. ")


def test_prompts_of_your_own() -> None:
    policy = parse_memory('hermes(own_prompts=("Who is here, now?", "Who came by?"), budget=8)')
    mixed, whole = policy.probes(FULL, (), FACTS)
    assert (mixed.text, mixed.layers) == ("Who is here, now?; Who came by?", range(1, 7))
    assert (whole.text, whole.layers) == ("Who came by?", range(7, 10))
    for bad in ('hermes(own_prompts=("", "x"))', 'hermes(own_prompts=("x", "y"), prompts=describe)'):
        with pytest.raises(PolicyError, match="own_prompts are two texts"):
            parse_memory(bad)


def test_one_prompt_serves_both_groups() -> None:
    stream = FakeStream(Hermes(budget=12, prompts="describe"))
    for _ in range(4):
        interval = stream.advance(2)
    assert interval.probe_names == ("global",)
    assert stream.memory.current.held_tokens == (12,) * 10


def test_distance_in_rows_does_not_stretch_with_the_memory() -> None:
    cpu = torch.device("cpu")
    for n_rows in (5, 50):
        assert recency(n_rows, 0.5, cpu, is_relative=False)[-3].item() == pytest.approx(math.exp(-1))
        assert recency(n_rows, 0.5, cpu)[0].item() == pytest.approx(math.exp(-0.5))


def test_summaries_in_all_layers_or_in_none() -> None:
    for summary, expected in (("all", [1] * 10), ("deep", [0] * 7 + [1] * 3), ("none", [0] * 10)):
        stream = FakeStream(Hermes(budget=12, summary=summary))
        for _ in range(3):
            stream.advance(2)
        tables = [layer.table for layer in stream.memory.current.layers]
        assert [int((table.kind_HN == TokenKind.SUMMARY).sum()) for table in tables] == expected
        assert stream.memory.current.held_tokens == (12,) * 10


@pytest.mark.parametrize("place", ["end", "mean"])
def test_merged_summaries_leave_one_slot(place: str) -> None:
    stream = FakeStream(Hermes(budget=12, merge_summaries=True, summary_place=place, summary_weight="count"))
    for _ in range(20):
        stream.advance(2)
        stream.memory.check_invariants()
    version = stream.memory.current
    for layer in version.layers[7:]:
        is_summary_N = layer.table.kind_HN[0] == TokenKind.SUMMARY
        assert int(is_summary_N.sum()) == 1
        assert int(layer.table.count_HN[0, is_summary_N]) == version.n_seen - 11


@settings(max_examples=60, deadline=None)
@given(
    n_rows=st.integers(3, 12),
    weight=st.sampled_from(["equal", "count"]),
    seed=st.integers(0, 2**31),
    has_two=st.booleans(),
)
def test_a_summary_stands_where_its_content_stood(n_rows: int, weight: str, seed: int, has_two: bool) -> None:
    """Position, time and order by a plain loop over the folded rows; a second fold may take the first summary."""
    rng = np.random.default_rng(seed)
    memory = empty_memory(1, n_heads=1)
    append_prefix(memory, 2)
    for round_number in range(1 + has_two):
        tokens = visual_tokens(n_rows, 1, memory.current.frames_seen)
        raw = torch.randn(1, n_rows, 2, generator=torch.Generator().manual_seed(seed % 1000 + round_number))
        append(memory, memory.begin_vision(tokens, tokens.times_seconds_N[-1].item()), raw, raw)
        before = memory.current.layers[0].table
        n_held = before.n_tokens - 2
        evicted = sorted(rng.choice(n_held, int(rng.integers(1, n_held)), replace=False).tolist())
        keep = sorted(set(range(n_held)) - set(evicted))
        rows = [(before.position_RHN[0, 0, 2 + r].item(), before.count_HN[0, 2 + r].item()) for r in evicted]
        total = sum(count if weight == "count" else 1 for _, count in rows)
        expected = round(sum(p * (count if weight == "count" else 1) for p, count in rows) / total)
        fold = Fold(torch.tensor(evicted), weight, "mean")  # type: ignore[arg-type]
        memory.apply(Plan((LayerPlan(torch.tensor(keep), (fold,)),)))
        memory.check_invariants()
        layer = memory.current.layers[0]
        positions = layer.table.position_RHN[0, 0].tolist()
        assert positions == sorted(positions)
        newest = layer.table.identity_HN[0].argmax()
        assert layer.table.kind_HN[0, newest] == TokenKind.SUMMARY
        assert abs(positions[newest] - expected) <= (1 if total % 2 == 0 else 0), "halves may round either way"
        assert int(layer.table.count_HN[0, newest]) == sum(count for _, count in rows)
        cos, sin = memory.rope.tables(layer.table.position_RHN[:, 0], torch.float32)
        raw_held = layer.slab.raw_keys(layer.n_held)[0]
        turned = torch.stack((-raw_held[:, 1], raw_held[:, 0]), dim=-1)
        torch.testing.assert_close(layer.keys[0], raw_held * cos + turned * sin)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(2, 40)] * 3), min_size=1, max_size=20).map(lambda rows: sorted(rows)),
    st.integers(0, 2),
)
def test_rank_compaction_equals_its_oracle(rows: list[tuple[int, int, int]], n_prefix: int) -> None:
    prefix = [(i, i, i) for i in range(n_prefix)]
    position_RN = torch.tensor([*prefix, *rows]).T
    table = TokenTable.build(
        kind=TokenKind.VISION, identity_N=torch.arange(position_RN.shape[1]), position_RN=position_RN
    )
    assert rank_rows(table, n_prefix)[:, 0].tolist() == rank_positions(position_RN.numpy(), n_prefix).tolist()


def test_the_released_example_of_rank_compaction() -> None:
    """Kept (2,2,2), (2,3,5), (6,2,5) behind two prefix tokens."""
    position_RN = np.array([[0, 1, 2, 2, 6], [0, 1, 2, 3, 2], [0, 1, 2, 5, 5]])
    assert rank_positions(position_RN, 2)[:, 2:].T.tolist() == [[2, 2, 2], [2, 3, 3], [3, 2, 3]]
