"""Every row knows when the oldest and the newest frame were shown that it was made of, whatever became of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream import KeepAll
from hermes_stream.memory.mean_frame import mean_frame
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.models.load import load_adapter
from tests.engine.direct import open_direct, watch_direct
from tests.policies.harness import append_frames, append_prefix, empty_memory, visual_tokens
from tests.tiny import make_frames, save_checkpoint

from .test_kv_memory import random_plan

Made = dict[int, set[float]]


def spans(table: TokenTable, n_prefix: int) -> list[tuple[int, float, float]]:
    rows = torch.cat((table.identity_HN[None].double(), table.span_2HN))[:, 0, n_prefix:]
    return [(int(identity), first, last) for identity, first, last in rows.T.tolist()]


def assert_spans(table: TokenTable, n_prefix: int, made_of: Made) -> None:
    for identity, first, last in spans(table, n_prefix):
        assert (first, last) == (min(made_of[identity]), max(made_of[identity]))


def made_by(plan: LayerPlan, table: TokenTable, n_prefix: int, next_identity: int, made_of: Made) -> Made:
    """What the summaries and prototypes of a plan are made of, by their identities."""
    identity_N = table.identity_HN[0, n_prefix:]
    groups = [made.rows_N for made in (*plan.folds, *plan.prototypes)]
    return {
        next_identity + index: set().union(*(made_of[identity] for identity in identity_N[rows_N].tolist()))
        for index, rows_N in enumerate(groups)
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), steps=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_rows_of_rows_know_the_times_of_all_that_is_in_them(seed: int, steps: list[int]) -> None:
    """Summaries of summaries and prototypes of prototypes; layers go different ways."""
    generator, memory = torch.Generator().manual_seed(seed), empty_memory(3)
    append_prefix(memory, 2)
    made_of: list[Made] = [{} for _ in range(3)]
    for n_frames in steps:
        first = memory.current.next_identity
        append_frames(memory, n_frames, 3, generator)
        for of_layer, layer in zip(made_of, memory.current.layers, strict=True):
            for identity, seconds, _ in spans(layer.table, 2):
                if identity >= first:
                    of_layer[identity] = {seconds}
        plan, base = random_plan(memory, generator, Positions.KEEP, per_head=False), memory.current
        memory.apply(plan)
        for of_layer, layer_plan, layer in zip(made_of, plan.layers or (), base.layers, strict=True):
            of_layer |= made_by(layer_plan, layer.table, 2, base.next_identity, of_layer)
        for of_layer, layer in zip(made_of, memory.current.layers, strict=True):
            assert_spans(layer.table, 2, of_layer)


def test_merged_features_know_the_times_of_their_parts() -> None:
    memory = empty_memory(1)
    append_prefix(memory, 2)
    memory.commit_features(visual_tokens(4, 2), 3.0)
    folds = (Fold(torch.tensor([0, 5]), anchor=5), Fold(torch.tensor([2, 3]), anchor=2))
    memory.apply(Plan(features=LayerPlan(torch.tensor([1, 7]), folds)))
    table = memory.current.features.table
    assert [(first, last) for _, first, last in spans(table, 0)] == [(0, 0), (1, 1), (0, 2), (3, 3)]
    memory.apply(Plan(features=LayerPlan(torch.tensor([0]), (Fold(torch.tensor([1, 2, 3]), anchor=1),))))
    assert [(first, last) for _, first, last in spans(memory.current.features.table, 0)] == [(0, 0), (0, 3)]


def test_a_mean_frame_knows_the_times_of_each_cells_rows() -> None:
    table = TokenTable.build(
        kind=TokenKind.VISION,
        identity_N=torch.arange(5),
        position_RN=torch.arange(5)[None],
        frame_N=torch.tensor([0, 0, 1, 2, 2]),
        row_N=torch.tensor([0, 0, 0, 0, -1]),
        column_N=torch.tensor([0, 1, 0, 1, -1]),
        seconds_N=torch.tensor([0.0, 0.0, 5.0, 9.0, 9.0]),
        span_2N=torch.tensor([[0.0, 0.0, 4.0, 8.0, 8.0], [0.0, 0.0, 6.0, 10.0, 10.0]]),
    )
    made, *_ = mean_frame(table, torch.zeros(1, 5, 2), torch.zeros(1, 5, 2), 7)
    assert spans(made, 0) == [(7, 0.0, 6.0), (8, 0.0, 10.0)]


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_a_grid_knows_its_frames(family: str, tmp_path: Path) -> None:
    """Rows of a pair of frames, words beside it included, have the times of both."""
    adapter = load_adapter(str(save_checkpoint(family, tmp_path / family, num_hidden_layers=2)))
    stream = open_direct(adapter, KeepAll())
    watch_direct(stream, make_frames(4), 4)
    version, per_grid = stream.memory.current, adapter.facts.frames_per_grid
    table = version.layers[0].table.slice(version.n_prefix)
    for frame, (_, first, last) in zip(table.frame_HN[0].tolist(), spans(table, 0), strict=True):
        assert (first, last) == (frame * per_grid, frame * per_grid + per_grid - 1)
