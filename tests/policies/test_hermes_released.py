"""`hermes:released` against an independent oracle of the released rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.hermes import Hermes

from ..oracles import hermes_released_oracle as oracle
from .harness import HEADS, hand_made_view

# float32 scores against float64 ones, after a min-max that divides by the spread of the attention.
TOLERANCE = 2e-5


@pytest.mark.parametrize("seed", range(200))
def test_the_same_rows_are_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    family = ("llava-onevision", "qwen2.5-vl")[seed % 2]
    n_layers, n_prefix = int(rng.integers(10, 33)), int(rng.integers(1, 15))
    budget = int(rng.integers(2, 60))
    n_rows = budget + int(rng.integers(-n_prefix, 50))
    n_rows = max(n_rows, 2)
    logits = rng.normal(0, rng.uniform(0.5, 5), (n_layers, HEADS, n_rows))
    # Part of the softmax goes to prefix and prompt, and one row stands out, as sinks do.
    mass = np.exp(logits) / (np.exp(logits).sum(axis=-1, keepdims=True) + rng.uniform(0, 5))
    mass[:, :, int(rng.integers(n_rows))] += 0.2
    identities = [sorted(rng.choice(2 * n_rows, n_rows, replace=False).tolist()) for _ in range(n_layers)]

    policy = Hermes(budget=budget, **Hermes.presets["released"])
    facts = StreamFacts(n_layers, 1, family, prefix_tokens=n_prefix)
    expected = oracle.compress(list(mass.mean(axis=1)), n_prefix, budget, is_llava="llava" in family)
    probes = policy.probes([n_rows] * n_layers, (), facts)
    assert {probe.queries for probe in probes} <= {"embedding"}
    # Where the release would score only to keep every row, we do not score.
    if expected is None or n_rows < budget:
        assert probes == ()
        return
    by_layer = [{p.name: torch.tensor(mass[i]).float() for p in probes if i in p.layers} for i in range(n_layers)]
    plan, _ = policy.after_chunk(hand_made_view(identities, by_layer), policy.start(facts))
    kept, scores = expected
    if plan.layers is None:
        assert all(layer.rows == list(range(n_prefix + n_rows)) for layer in kept)
        return
    for layer_plan, wanted, score in zip(plan.layers, kept, scores, strict=True):
        ours = [n_prefix + row for row in layer_plan.keep.tolist()]
        if ours != list(wanted.rows[n_prefix:]):
            _assert_differ_by_ties(ours, wanted.rows[n_prefix:], score, n_prefix)
            continue
        assert [[n_prefix + row for row in fold.rows_N.tolist()] for fold in layer_plan.folds] == (
            [wanted.summary_of] if wanted.summary_of else []
        )


def _assert_differ_by_ties(ours: list[int], theirs: list[int], score: np.ndarray, n_prefix: int) -> None:
    swapped = set(ours) ^ set(theirs)
    values = [score[row - n_prefix] for row in swapped]
    assert len(ours) == len(theirs)
    assert max(values) - min(values) < TOLERANCE
