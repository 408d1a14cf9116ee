"""HERMES against an oracle in plain Python, and its options one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.errors import PlanError, PolicyError
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.hermes import Hermes, HermesState
from hermes_stream.policies.hermes_scores import LayerGroups
from hermes_stream.types import Turn

from ..oracles import hermes_oracle as oracle
from ..readback import NothingComesBack
from .contract import run
from .harness import HEADS, FakeStream, hand_made_view

# float32 scores against float64 ones, after a min-max that divides by the spread of the attention.
TOLERANCE = 2e-5
FACTS = StreamFacts(n_layers=10, tokens_per_frame=2, family="llava-onevision")


def probe_of(layer: int, first_deep: int) -> str:
    return "mixed" if layer < first_deep else "global"


def random_view(
    seed: int, n_layers: int, first_deep: int, n_rows: int, *, levels: int | None = None
) -> tuple[MemoryView, list[list[float]], list[list[int]]]:
    """Layers that hold different tokens, with random attention; also the attention as the oracle wants it.

    levels: attention takes so few values that many rows tie.
    """
    generator = torch.Generator().manual_seed(seed)
    attention, identities, mass = [], [], []
    for layer in range(n_layers):
        identity = torch.randperm(n_rows + 6, generator=generator)[:n_rows].sort().values
        if levels is None:
            mass_KN = (4 * torch.randn(HEADS, n_rows, generator=generator)).softmax(dim=-1)
            # One row stands out: min-max of attention that hardly differs would only compare roundings.
            mass_KN[:, int(torch.randint(n_rows, (), generator=generator))] += 0.5
        else:
            mass_KN = torch.randint(levels, (1, n_rows), generator=generator) / 8
        mass.append({probe_of(layer, first_deep): mass_KN})
        attention.append(mass_KN.double().mean(dim=0).tolist())
        identities.append(identity.tolist())
    return hand_made_view(identities, mass), attention, identities


def assert_keeps_the_best(kept: list[int], score: list[float], n_keep: int) -> None:
    """Equal to the oracle, except that scores closer than a rounding may swap."""
    assert len(kept) == min(n_keep, len(score))
    dropped = sorted(set(range(len(score))) - set(kept))
    if dropped and kept:
        worst, best = min(score[i] for i in kept), max(score[i] for i in dropped)
        assert worst > best - TOLERANCE
        if abs(worst - best) > TOLERANCE:
            assert kept == oracle.kept(score, n_keep)


def kept_rows(plan: Plan) -> list[list[int]]:
    assert plan.layers is not None
    return [layer.keep.tolist() for layer in plan.layers]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Hermes, oracle.OracleRules, int, int, int]:
    n_layers = draw(st.integers(2, 7))
    first_deep = draw(st.integers(0, n_layers))
    first_middle = draw(st.integers(0, first_deep))
    n_rows = draw(st.integers(2, 24))
    budget = draw(st.integers(1, n_rows - 1))
    smoothing = draw(st.sampled_from(["one-step", "recursive", "none"]))
    match = draw(st.sampled_from(["identity", "index"]))
    summaries = draw(st.booleans())
    schedule = draw(st.sampled_from(["paper", "released"]))
    policy = Hermes(
        budget=budget,
        borders=(first_middle, first_deep),
        smoothing=smoothing,
        match=match,
        summary="deep" if summaries else "none",
        schedule=schedule,
    )
    rules = oracle.OracleRules(first_middle, first_deep, budget, smoothing=smoothing, match=match, summaries=summaries)
    if schedule == "released":  # of LLaVA-OneVision
        rules.omega, rules.gamma, rules.k_middle_fall = 1.0, 0.9, 19.5
    return policy, rules, n_layers, n_rows, draw(st.integers(0, 2**31))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_selection_equals_the_oracle(case: tuple[Hermes, oracle.OracleRules, int, int, int]) -> None:
    policy, rules, n_layers, n_rows, seed = case
    view, attention, identities = random_view(seed, n_layers, rules.first_deep, n_rows)
    state = policy.start(StreamFacts(n_layers, 1, "llava-onevision"))

    raw = oracle.scores(attention, rules)
    smooth = oracle.smoothed(raw, identities, rules)
    ours = policy.scores(view, state)
    for ours_N, expected in zip(ours, raw, strict=True):
        assert ours_N.dtype == torch.float32
        torch.testing.assert_close(ours_N.double(), torch.tensor(expected).double(), rtol=0, atol=TOLERANCE)
    for ours_N, expected in zip(policy.smoothed(ours, view, state), smooth, strict=True):
        torch.testing.assert_close(ours_N.double(), torch.tensor(expected).double(), rtol=0, atol=TOLERANCE)

    plan, _ = policy.after_chunk(view, state)
    assert plan.layers is not None
    plan.validate([n_rows] * n_layers)
    for layer, (layer_plan, score) in enumerate(zip(plan.layers, smooth, strict=True)):
        kept = layer_plan.keep.tolist()
        assert_keeps_the_best(kept, score, oracle.n_keep(layer, rules))
        evicted = sorted(set(range(n_rows)) - set(kept))
        folded = [fold.rows_N.tolist() for fold in layer_plan.folds]
        assert folded == ([evicted] if rules.summaries and layer >= rules.first_deep and evicted else [])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n_rows=st.integers(2, 20), data=st.data())
def test_equal_scores_keep_the_newer_token(seed: int, n_rows: int, data: st.DataObject) -> None:
    budget = data.draw(st.integers(1, n_rows - 1))
    policy = Hermes(budget=budget, borders=(0, 0), smoothing="none", summary="none")
    view, attention, _ = random_view(seed, 3, 0, n_rows, levels=3)
    plan, _ = policy.after_chunk(view, policy.start(StreamFacts(3, 1, "any")))
    assert kept_rows(plan) == [oracle.kept(layer, budget) for layer in attention]


def test_shallow_layers_are_a_window_without_smoothing() -> None:
    policy = Hermes(budget=5, borders=(3, 3), smoothing="none")
    view, _, _ = random_view(0, 3, 3, 12)
    plan, _ = policy.after_chunk(view, policy.start(StreamFacts(3, 1, "any")))
    assert kept_rows(plan) == [oracle.recency_window(12, 5)] * 3


def test_a_token_is_mixed_with_its_own_score_of_the_next_layer() -> None:
    """The release mixes row i with row i, although rows mean different tokens once the layers differ."""
    view = hand_made_view(
        [[1, 2, 3, 4], [0, 1, 3, 5]],
        [{"global": torch.tensor([[0.0, 8.0, 4.0, 2.0]]) / 8}, {"global": torch.tensor([[0.0, 8.0, 6.0, 2.0]]) / 8}],
    )
    facts = StreamFacts(2, 1, "any")
    own, above = [0, 1, 0.5, 0.25], [0, 1, 0.75, 0.25]
    expected = {
        # Tokens 2 and 4 are gone from the layer above.
        "identity": [0.6 * own[0] + 0.4 * above[1], own[1], 0.6 * own[2] + 0.4 * above[2], own[3]],
        "index": [0.6 * a + 0.4 * b for a, b in zip(own, above, strict=True)],
    }
    for match, scores in expected.items():
        policy = Hermes(budget=3, borders=(0, 0), match=match)
        state = policy.start(facts)
        ours = policy.smoothed(policy.scores(view, state), view, state)
        torch.testing.assert_close(ours[0], torch.tensor(scores), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("n_layers", "shallow_end", "deep_start"),
    [(24, 2, 16), (28, 2, 19), (80, 8, 56), (36, 3, 25), (64, 6, 44), (10, 1, 7), (9, 0, 6)],
)
def test_layers_are_divided_as_in_the_paper(n_layers: int, shallow_end: int, deep_start: int) -> None:
    policy = Hermes(budget=8)
    assert policy.start(StreamFacts(n_layers, 1, "any")).groups == LayerGroups(shallow_end, deep_start, n_layers)


@pytest.mark.parametrize(
    ("family", "weights", "decays"),
    [
        ("llava-onevision", (1.0, 1 - 0.9 * 16 / 17), (20.0, 20 - 19.5 * 16 / 17)),
        ("qwen2.5-vl", (0.75, 0.75 - 0.6 * 16 / 17), (20.0, 20 - 12 * 16 / 17)),
    ],
)
def test_the_released_schedule_differs_between_families(
    family: str, weights: tuple[float, float], decays: tuple[float, float]
) -> None:
    policy = Hermes(budget=8, **Hermes.presets["released"])
    state = policy.start(StreamFacts(28, 1, family))
    schedule, groups = state.schedule, state.groups
    assert [schedule.weight_of(layer, groups) for layer in (0, 2, 18, 19)] == pytest.approx([1, *weights, 0])
    assert [schedule.decay_of(layer, groups) for layer in (0, 2, 18)] == pytest.approx([20, *decays])


def test_single_constants_replace_those_of_the_schedule() -> None:
    state = Hermes(budget=8, schedule="released", weight=0.95, decay_drop=1).start(FACTS)
    schedule = state.schedule
    assert (schedule.weight, schedule.weight_drop) == (0.95, 0.9)
    assert (schedule.decay_shallow, schedule.decay, schedule.decay_drop) == (20, 20, 1)


@pytest.mark.parametrize("constants", [{"weight": 0.5}, {"decay": 10}])
def test_recency_may_not_count_negatively(constants: dict[str, float]) -> None:
    with pytest.raises(PolicyError, match="recency would count negatively"):
        Hermes(budget=8, **constants).start(FACTS)


def test_prompts_run_only_where_their_attention_counts() -> None:
    probes = Hermes(budget=8).probes([9] * 10, (), FACTS)
    assert [(probe.name, probe.layers) for probe in probes] == [("mixed", range(1, 7)), ("global", range(7, 10))]
    assert Hermes(budget=8).probes([8] * 10, (), FACTS) == ()
    only_deep = Hermes(budget=8, borders=(0, 0)).probes([9] * 10, (), FACTS)
    assert [probe.name for probe in only_deep] == ["global"]
    assert Hermes(budget=8, borders=(10, 10)).probes([9] * 10, (), FACTS) == ()


def test_prompts_are_those_of_the_paper() -> None:
    mixed, summary = Hermes(budget=8).probes([9] * 10, (), FACTS)
    local_text = (
        "Describe the current scene in detail, focusing on specific objects, fine-grained actions, "
        "and spatial relationships."
    )
    global_text = (
        "Summarize the video narrative, identifying main characters, key events, timeline changes, "
        "and the overall theme."
    )
    assert mixed.text == f"{local_text}; {global_text}"
    assert summary.text == global_text


def test_the_last_turn_enters_the_prompts() -> None:
    turns = (Turn("Who?", "Nobody."), Turn("Where is it?", "B) left, not A) right"))
    mixed, summary = Hermes(budget=8).probes([9] * 10, turns, FACTS)
    quoted = "Question: Where is it? Answer: left, not right"
    assert summary.text.startswith(f"Context summary: {quoted}. Summarize the video")
    assert mixed.text.startswith(f"Find recent details related to: {quoted}. Describe the current scene")
    assert mixed.text.endswith(summary.text)
    without = Hermes(budget=8, history=False).probes([9] * 10, turns, FACTS)
    assert without == Hermes(budget=8).probes([9] * 10, (), FACTS)


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("(C) a red ball", "a red ball"),
        ("A) one B) two", "one two"),
        ("B", "B"),
        ("(B)", "(B)"),
        ("NASA) and more", "NASA) and more"),
        ("red", "red"),
    ],
)
def test_option_labels_leave_the_history(answer: str, quoted: str) -> None:
    (probe,) = Hermes(budget=8, borders=(0, 0)).probes([9] * 10, (Turn("Q?", answer),), FACTS)
    assert f"Answer: {quoted}. Summarize" in probe.text


def test_the_released_trigger_counts_the_prefix_of_layer_0() -> None:
    """With a full budget and a prefix it evicts one row of each deep layer, to fold it into a summary."""
    facts = StreamFacts(10, 2, "any", prefix_tokens=3)
    full, almost = [8] * 10, [7] * 10
    released, paper = Hermes(budget=8, trigger="prefix"), Hermes(budget=8)
    assert released.probes(full, (), facts)
    assert paper.probes(full, (), facts) == ()
    # One more row than M minus the prefix triggers, but nothing would go: no probe, and the plan is the identity.
    assert released.probes(almost, (), facts) == ()
    assert Hermes(budget=8, trigger="prefix").probes(full, (), StreamFacts(10, 2, "any")) == ()


@pytest.mark.parametrize(("reindex", "positions"), [("lazy", Positions.KEEP), ("eager", Positions.COMPACT)])
def test_reindexing_is_asked_for_at_each_eviction_or_never(reindex: str, positions: Positions) -> None:
    stream = FakeStream(Hermes(budget=12, reindex=reindex))
    plans = [stream.advance(2).plan for _ in range(4)]
    assert [plan.positions for plan in plans] == [Positions.KEEP, Positions.KEEP, positions, positions]
    last = stream.memory.current.layers[0].table.position_RHN[0, 0].tolist()
    assert (last == list(range(len(last)))) == (reindex == "eager")


def test_each_eviction_leaves_one_summary_in_deep_layers_until_it_is_evicted_itself() -> None:
    stream = FakeStream(Hermes(budget=12))
    for _ in range(3):
        stream.advance(2)
    kinds = [(layer.table.kind_HN[0] == 3).sum().item() for layer in stream.memory.current.layers]
    assert kinds == [0] * 7 + [1] * 3
    assert stream.memory.current.held_tokens == (12,) * 10


def test_a_deep_summary_stands_for_all_that_was_evicted() -> None:
    stream = FakeStream(Hermes(budget=12))
    for _ in range(20):
        stream.advance(2)
    deep = stream.memory.current.layers[-1].table
    assert deep.count_HN[0, 2:].sum().item() == stream.memory.current.n_seen


def test_the_state_is_one_frozen_value() -> None:
    policy = Hermes(budget=12)
    stream = run(policy, [2] * 5)
    assert stream.state == policy.start(stream.facts)
    assert isinstance(stream.state, HermesState)
    with pytest.raises(AttributeError):
        stream.state.groups = LayerGroups(0, 0, 0)  # type: ignore[misc]


@pytest.mark.parametrize("borders", [(3, 2), (0, 11), (-1, 4)])
def test_impossible_borders_are_refused_at_the_start(borders: tuple[int, int]) -> None:
    with pytest.raises(PolicyError, match=r"borders \(.*\) do not divide 10 layers"):
        Hermes(budget=8, borders=borders).start(FACTS)


@pytest.mark.parametrize("match", ["identity", "index"])
def test_indices_stay_on_the_device(match: str) -> None:
    policy = Hermes(budget=6, borders=(1, 3), match=match)
    view, _, _ = random_view(0, 5, 3, 12)
    state = policy.start(StreamFacts(5, 1, "any"))
    with NothingComesBack():
        plan, _ = policy.after_chunk(view, state)
    assert plan.layers is not None


def test_missing_attention_is_named() -> None:
    policy = Hermes(budget=2, borders=(0, 1))
    view = hand_made_view([[0, 1, 2]] * 2, [{}, {}])
    with pytest.raises(PlanError, match="needs the attention of its probe 'mixed'"):
        policy.after_chunk(view, policy.start(StreamFacts(2, 1, "any")))
