"""The worked example of HERMES with numbers checked by hand.

Four layers: 0 shallow, 1 and 2 middle, 3 deep. Two prefix tokens, six video tokens at positions 2 to 7, budget 4.
The decay 5 ln 2 makes recency 1/32, 1/16, ... 1; scores are written times 31.
"""

from __future__ import annotations

import math

import pytest
import torch

from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import LayerView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.hermes import Hermes, HermesState

from .harness import append, append_prefix, empty_memory, hand_made_view, visual_tokens

ATTENTION_31 = {1: (31, 0, 8, 4, 12, 16), 2: (31, 0, 20, 0, 10, 0), 3: (0, 31, 2, 25, 4, 6)}
CONSTANTS = {"borders": (1, 3), "decay_shallow": 5 * math.log(2), "decay": 5 * math.log(2), "decay_drop": 0.0}
# The 1e-6 of the min-max normalisation shows in the fifth digit.
TOLERANCE = 1e-3

RAW_SCORES_31 = [
    [0, 1, 3, 7, 15, 31],
    [7.75, 0.75, 4.25, 6.25, 14.25, 27.25],
    [17.05, 0.45, 12.35, 3.15, 12.25, 13.95],
    [0, 31, 2, 25, 4, 6],
]
SMOOTHED_31 = {
    "one-step": [
        [0.775, 0.975, 3.125, 6.925, 14.925, 30.625],
        [10.54, 0.66, 6.68, 5.32, 13.65, 23.26],
        [11.935, 9.615, 9.245, 9.705, 9.775, 11.565],
        [0, 31, 2, 25, 4, 6],
    ],
    "recursive": [
        [0.9005, 1.2409, 3.2749, 7.0286, 14.7907, 30.1545],
        [9.0055, 3.4095, 5.7485, 7.2865, 12.9075, 22.5445],
        [11.935, 9.615, 9.245, 9.705, 9.775, 11.565],
        [0, 31, 2, 25, 4, 6],
    ],
    "none": RAW_SCORES_31,
}
KEPT = {
    "one-step": [[2, 3, 4, 5], [0, 2, 4, 5], [0, 3, 4, 5], [1, 3, 5]],
    "recursive": [[2, 3, 4, 5], [0, 3, 4, 5], [0, 3, 4, 5], [1, 3, 5]],
    "none": [[2, 3, 4, 5], [0, 3, 4, 5], [0, 2, 4, 5], [1, 3, 5]],
}


def mass(layer: int) -> dict[str, torch.Tensor]:
    if layer not in ATTENTION_31:
        return {}
    return {"global" if layer == 3 else "mixed": torch.tensor([ATTENTION_31[layer]]) / 31}


def view() -> MemoryView:
    return hand_made_view([[2, 3, 4, 5, 6, 7]] * 4, [mass(layer) for layer in range(4)])


def started(policy: Hermes) -> HermesState:
    return policy.start(StreamFacts(n_layers=4, tokens_per_frame=1, family="any", prefix_tokens=2))


@pytest.mark.parametrize("smoothing", list(KEPT))
@pytest.mark.parametrize("match", ["identity", "index"])
def test_scores_and_kept_rows(smoothing: str, match: str) -> None:
    """Nothing was evicted before, so rows and identities name the same tokens in all layers."""
    policy = Hermes(budget=4, smoothing=smoothing, match=match, **CONSTANTS)
    state = started(policy)
    raw = policy.scores(view(), state)
    torch.testing.assert_close(torch.stack(raw) * 31, torch.tensor(RAW_SCORES_31), rtol=0, atol=TOLERANCE)
    smoothed = policy.smoothed(raw, view(), state)
    torch.testing.assert_close(torch.stack(smoothed) * 31, torch.tensor(SMOOTHED_31[smoothing]), rtol=0, atol=TOLERANCE)
    plan, _ = policy.after_chunk(view(), state)
    assert plan.layers is not None
    assert [layer.keep.tolist() for layer in plan.layers] == KEPT[smoothing]
    assert [[fold.rows_N.tolist() for fold in layer.folds] for layer in plan.layers] == [[], [], [], [[0, 2, 4]]]


@pytest.mark.parametrize(("preset", "smoothing"), [("paper", "one-step"), ("released", "recursive")])
def test_the_presets_choose_the_rows_of_their_column(preset: str, smoothing: str) -> None:
    """The example has the paper's weights, which the released code has for Qwen."""
    policy = Hermes(budget=4, **{**Hermes.presets[preset], **CONSTANTS})
    plan, _ = policy.after_chunk(view(), started(policy))
    assert plan.layers is not None
    assert [layer.keep.tolist() for layer in plan.layers] == KEPT[smoothing]


# Un-rotated keys and values of the six tokens. Tokens 0, 2 and 4 are folded; they stand at 180, 360 and 540 degrees.
RAW_KEYS = [[1, 0], [7, 7], [0, 3], [7, 7], [5, 0], [2, 1]]
VALUES = [[3, 0], [7, 7], [6, 0], [7, 7], [9, 0], [7, 7]]


def watched_memory() -> KVMemory:
    memory = empty_memory(4, [4] * 4, n_heads=1)
    append_prefix(memory, 2)
    pending = memory.begin_vision(visual_tokens(6, 1), 5.0)
    append(memory, pending, torch.tensor([RAW_KEYS]).float(), torch.tensor([VALUES]).float())
    return memory


def plan_for(memory: KVMemory, **options: str) -> Plan:
    policy = Hermes(budget=4, **CONSTANTS, **options)
    layers = tuple(LayerView(layer.table.slice(2), mass(index)) for index, layer in enumerate(memory.current.layers))
    plan, _ = policy.after_chunk(MemoryView(layers, 4, 6, 5.0, 8, 1), started(policy))
    return plan


def test_keys_are_stored_rotated_by_their_positions() -> None:
    keys_ND = watched_memory().current.layers[3].keys[0, 2:]
    assert keys_ND[[0, 2, 4, 5]].tolist() == [[-1, 0], [0, 3], [-5, 0], [1, -2]]


@pytest.mark.parametrize(
    ("reindex", "kept_positions", "summary_position", "summary_key"),
    [("lazy", [3, 5, 7], 8, [2, 1]), ("eager", [2, 3, 4], 5, [-1, 2])],
)
def test_fold(reindex: str, kept_positions: list[int], summary_position: int, summary_key: list[int]) -> None:
    memory = watched_memory()
    memory.apply(plan_for(memory, reindex=reindex))
    memory.check_invariants()
    deep = memory.current.layers[3]
    positions = deep.table.position_RHN[0, 0].tolist()
    assert positions == [0, 1, *kept_positions, summary_position]
    assert deep.keys[0, -1].tolist() == summary_key
    assert deep.keys[0, -1].tolist() != [-2, 1], "a mean of keys in different phases"
    assert deep.values[0, -1].tolist() == [6, 0]
    assert deep.table.count_HN[0].tolist() == [1] * 5 + [3]


def test_eager_keys_equal_a_direct_rotation() -> None:
    """Token 5 moves from position 7 to 4: 360 degrees."""
    memory = watched_memory()
    memory.apply(plan_for(memory, reindex="eager"))
    assert memory.current.layers[3].keys[0, 4].tolist() == [2, 1]


@pytest.mark.parametrize(("weight", "key", "value"), [("count", [1.5, 0.5], [4.5, 0]), ("equal", [2, 1], [6, 0])])
def test_an_old_summary_counts_as_one_token_or_as_many(weight: str, key: list[float], value: list[float]) -> None:
    """Token 0 stands for four tokens: it is a summary itself, of four equal ones."""
    memory = empty_memory(1, n_heads=1)
    append_prefix(memory, 2)
    keys, values = [RAW_KEYS[0]] * 4, [VALUES[0]] * 4
    append(memory, memory.begin_vision(visual_tokens(4, 1), 0.0), *(torch.tensor([x]).float() for x in (keys, values)))
    fold = Hermes(budget=1, borders=(0, 0), summary_weight=weight)
    state = fold.start(StreamFacts(1, 1, "any"))

    def compress() -> None:
        """With a budget of one, everything goes into one summary."""
        table = memory.current.layers[0].table.slice(2)
        attention = {"global": torch.zeros(1, table.n_tokens)}
        view = MemoryView((LayerView(table, attention),), 1, 0, 0.0, 0, 1)
        memory.apply(fold.after_chunk(view, state)[0])

    compress()
    assert memory.current.layers[0].table.count_HN.tolist() == [[1, 1, 4]]
    append(
        memory,
        memory.begin_vision(visual_tokens(2, 1), 1.0),
        torch.tensor([[RAW_KEYS[2], RAW_KEYS[4]]]).float(),
        torch.tensor([[VALUES[2], VALUES[4]]]).float(),
    )
    compress()
    layer = memory.current.layers[0]
    assert layer.table.count_HN.tolist() == [[1, 1, 6]]
    torch.testing.assert_close(layer.slab.raw_keys(3)[0, -1], torch.tensor(key).float())
    torch.testing.assert_close(layer.values[0, -1], torch.tensor(value).float())
