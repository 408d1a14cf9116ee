"""Windows of whole frames, found by the table's columns in every family."""

from __future__ import annotations

import pytest
import torch

from hermes_stream import Engine
from hermes_stream.errors import ConfigError
from hermes_stream.inspection.measure import MEMORY
from hermes_stream.inspection.window import SHARES, whole_grids, window_of
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.models.load import load_adapter
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Which colour is the circle?"
# Tokens and columns of a grid, frames in a grid.
FAMILIES = {"llava_onevision": (9, 3, 1), "qwen2_5_vl": (32, 8, 2), "qwen3_vl": (32, 8, 2)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_stands_where_its_row_says(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    n_cells, n_columns, per_grid = FAMILIES[family]
    folder = save_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / family)
    with Engine(load_adapter(str(folder))) as engine, engine.open(MEMORY, budget=7 * n_cells, chunk=4) as session:
        session.watch(make_frames(24))
        attention = session.attention(QUESTION)
        assert session.stats.n_compressions
    window, table = window_of(attention), attention.version.layers[0].table
    newest = 24 // per_grid - 1
    n_frames = window.weight_LHFP.shape[2]
    assert window.weight_LHFP.shape == (12, 4, n_frames, n_cells)
    assert 4 <= n_frames <= 7
    n_found = 0
    for index in range(table.n_tokens):
        if int(table.kind_HN[0, index]) != TokenKind.VISION:
            continue
        frame = n_frames - 1 - (newest - int(table.frame_HN[0, index]))
        cell = int(table.row_HN[0, index]) * n_columns + int(table.column_HN[0, index])
        expected_LH = torch.stack([weight_HN[:, index] for weight_HN in attention.by_layer])
        assert torch.equal(torch.from_numpy(window.weight_LHFP[:, :, frame, cell]).float(), expected_LH)
        n_found += 1
    assert n_found == n_frames * n_cells
    assert window.share_LG.sum(axis=1) == pytest.approx(1)
    assert window.share_LG.min() >= 0
    separators_L = window.share_LG[:, SHARES.index("separators")]
    assert (separators_L > 0).all() == (family == "qwen3_vl")
    frames_L = window.share_LG[:, SHARES.index("frames")]
    assert frames_L == pytest.approx(window.weight_LHFP.mean(axis=1).sum(axis=(1, 2)))


def table_of(cells: list[tuple[TokenKind, int, int, int]]) -> TokenTable:
    kind_N, frame_N, row_N, column_N = torch.tensor(cells).T
    identity_N = torch.arange(len(cells))
    return TokenTable.build(
        kind=kind_N,
        identity_N=identity_N,
        position_RN=identity_N[None],
        frame_N=frame_N,
        row_N=row_N,
        column_N=column_N,
    )


def test_frames_that_lost_a_token_are_left_out() -> None:
    vision, text = TokenKind.VISION, TokenKind.TEXT
    cells = [(vision, 3, 0, 1), (text, 4, -1, -1), (vision, 4, 0, 0), (vision, 4, 0, 1), (text, 5, -1, -1)]
    row_FP, grid = whole_grids(table_of([*cells, (vision, 5, 0, 0), (vision, 5, 0, 1)]))
    assert grid == (1, 2)
    assert row_FP.tolist() == [[2, 3], [5, 6]]
    assert whole_grids(table_of([(text, 0, -1, -1)]))[0].size == 0


def test_a_window_of_three_frames_is_too_short(engine: Engine) -> None:
    with engine.open(MEMORY, budget=27, chunk=2) as session:
        session.watch(make_frames(8))
        with pytest.raises(ConfigError, match="holds 3 frames of 9 tokens; give a budget of at least 4 frames"):
            window_of(session.attention(QUESTION))
