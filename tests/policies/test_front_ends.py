"""Front-ends on grids made by hand: the specification's checks, slow references, limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.policies.front_ends import FRONT_ENDS, ChangeGate, Ctr, Dtd
from hermes_stream.policies.front_ends.base import FrontEnd, Grid, Reduction, reduce_tokens
from hermes_stream.policies.front_ends.ctr import static_and_dynamic
from hermes_stream.types import VisualTokens
from tests.oracles import front_end_oracle

WIDTH = 3


def grid_of(rows: list[list[float]], cells: list[tuple[int, int]] | None = None, saliency: Any = None) -> Grid:
    cells = cells or [(0, column) for column in range(len(rows))]
    return Grid(torch.tensor(rows, dtype=torch.float32), torch.tensor(cells), saliency)


def run(front_end: FrontEnd, grids: list[Grid]) -> list[Reduction]:
    reductions, state = [], None
    for grid in grids:
        reduction, state = front_end.reduce(grid, state)
        reductions.append(reduction)
    return reductions


def streams(n_grids: int = 4, side: int = 3) -> st.SearchStrategy[list[Grid]]:
    """Grids in which some cells rest, some drift, some jump, and some are missing."""

    def make(seed: int) -> list[Grid]:
        generator = torch.Generator().manual_seed(seed)
        picture = torch.randn(side * side, WIDTH, generator=generator)
        grids = []
        for _ in range(n_grids):
            amount = torch.tensor([0.0, 0.3, 3.0])[torch.randint(0, 3, (side * side, 1), generator=generator)]
            picture = picture + amount * torch.randn(picture.shape, generator=generator)
            there = torch.rand(side * side, generator=generator) < 0.85
            there[int(torch.randint(0, side * side, (), generator=generator))] = True
            cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))[there]
            saliency = torch.rand(side * side, generator=generator)[there]
            grids.append(Grid(picture[there], cells, saliency))
        return grids

    return st.integers(0, 2**31).map(make)


def as_cells(grid: Grid) -> dict[tuple[int, int], list[float]]:
    cells = [(row, column) for row, column in grid.cell_N2.tolist()]
    return dict(zip(cells, grid.embeddings_NE.double().tolist(), strict=True))


def left_cells(grid: Grid, reduction: Reduction) -> list[tuple[int, int]]:
    return [(row, column) for row, column in grid.cell_N2[reduction.keep_N].tolist()]


def test_dtd_drops_what_is_like_its_cell_before() -> None:
    """The specification's check: cosines .995, 0 and .9986 at a threshold of .5."""
    grids = [grid_of([[1, 0], [0, 1], [1, 1]]), grid_of([[1, 0.1], [1, 0], [1, 0.9]])]
    first, second = run(Dtd(threshold=0.5), grids)
    assert first.keep_N.tolist() == [0, 1, 2]
    assert second.keep_N.tolist() == [1]


@pytest.mark.parametrize(("drop", "kept"), [(0.0, [0, 1, 2]), (0.4, [0, 1]), (0.67, [1]), (0.99, [1])])
def test_dtd_drops_a_share(drop: float, kept: list[int]) -> None:
    grids = [grid_of([[1, 0], [0, 1], [1, 1]]), grid_of([[1, 0.1], [1, 0], [1, 0.9]])]
    assert run(Dtd(drop=drop), grids)[1].keep_N.tolist() == kept


def test_a_frame_that_did_not_change_keeps_one_token() -> None:
    grids = [grid_of([[1, 0], [0, 1], [1, 1]])] * 3
    for front_end in (Dtd(threshold=0.5), ChangeGate()):
        assert [len(reduction.keep_N) for reduction in run(front_end, grids)] == [3, 1, 1]


def test_slow_drift_counts_against_the_last_kept_token_only() -> None:
    """Ten degrees a frame, against a threshold of twenty; the third token always changes."""
    angles = torch.arange(8) * torch.pi / 18
    grids = [grid_of([[float(a.cos()), float(a.sin())], [1, 0], [(-1) ** i, 0]]) for i, a in enumerate(angles)]
    threshold = float(torch.tensor(torch.pi / 9).cos()) - 1e-4
    previous, kept = (run(Dtd(threshold=threshold, against=against), grids) for against in ("previous", "kept"))
    assert not any(0 in reduction.keep_N.tolist() for reduction in previous[1:])
    assert [0 in reduction.keep_N.tolist() for reduction in kept] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@settings(max_examples=60, deadline=None)
@given(streams(), st.sampled_from([0.0, 0.2, 0.5, 0.8]), st.sampled_from(["previous", "kept"]), st.booleans())
def test_dtd_equals_its_definition(grids: list[Grid], amount: float, against: Any, is_share: bool) -> None:
    form = {"drop" if is_share else "threshold": amount}
    found = [left_cells(*pair) for pair in zip(grids, run(Dtd(against=against, **form), grids), strict=True)]
    assert found == front_end_oracle.dtd([as_cells(grid) for grid in grids], against=against, **form)


def test_the_change_gate_lets_in_what_is_above_the_frames_own_threshold() -> None:
    """The specification's check: changes .05 .05 .05 .9, of which only the last enters."""
    before = grid_of([[1, 0]] * 4, [(0, 0), (0, 3), (0, 6), (0, 9)])
    now = grid_of([[1 - d, (1 - (1 - d) ** 2) ** 0.5] for d in (0.05, 0.05, 0.05, 0.9)], before.cell_N2.tolist())
    assert run(ChangeGate(similar=1.0), [before, now])[1].keep_N.tolist() == [3]


def test_the_change_gate_looks_around_a_cell_and_leaves_what_is_similar() -> None:
    """What moved by one cell has not changed; of what changed alike, that is left which is not similar enough."""
    cells = [(0, column) for column in range(6)]
    before = grid_of([[1, 0], [0, 1], [-1, 0], [1, 0], [1, 0], [1, 0]], cells)
    moved = grid_of([[0, 1], [1, 0], [0, 1], [-1, 0.1], [1, 0.8], [1, 0]], cells)
    assert run(ChangeGate(), [before, moved])[1].keep_N.tolist() == [4]
    assert run(ChangeGate(similar=0.7), [before, moved])[1].keep_N.tolist() == [4]
    far = grid_of([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0.8], [-1, 0]], cells)
    start = grid_of([[1, 0]] * 6, cells)
    assert run(ChangeGate(), [start, far])[1].keep_N.tolist() == [5]


@pytest.mark.parametrize(("n_static", "shares"), [(0, (0, 50)), (98, (25, 25)), (49, (12, 38)), (196, (50, 0))])
def test_ctr_divides_what_stays_as_the_frame_is_divided(n_static: int, shares: tuple[int, int]) -> None:
    assert static_and_dynamic(50, n_static, 196) == shares


@pytest.mark.parametrize(
    ("keep", "n_tokens", "left"), [(0.255, 196, 50), (50, 196, 50), (50, 9, 9), (1, 9, 9), (0.01, 9, 1), (4, 196, 4)]
)
def test_ctr_keeps_a_share_or_a_number(keep: float, n_tokens: int, left: int) -> None:
    assert Ctr(keep=keep).tokens_after(n_tokens) == left


@settings(max_examples=60, deadline=None)
@given(streams(n_grids=3, side=5), st.sampled_from([0.1, 0.255, 0.6]))
def test_ctr_equals_its_definition(grids: list[Grid], keep: float) -> None:
    front_end, before = Ctr(keep=keep), None
    for grid, reduction in zip(grids, run(front_end, grids), strict=True):
        cells, saliency = as_cells(grid), (grid.saliency_N if grid.saliency_N is not None else torch.empty(0)).tolist()
        salient = dict(zip(cells, saliency, strict=True))
        expected = front_end_oracle.ctr(cells, before, salient, front_end.tokens_after(grid.n_tokens))
        assert left_cells(grid, reduction) == [cell for cell, _ in expected]
        assert reduction.mix_MN is not None
        made_ME = reduction.mix_MN @ grid.embeddings_NE
        torch.testing.assert_close(made_ME, torch.tensor([made for _, made in expected]), atol=1e-5, rtol=1e-5)
        before = cells


@settings(max_examples=20, deadline=None)
@given(streams())
def test_ctr_that_keeps_everything_changes_nothing(grids: list[Grid]) -> None:
    for grid, reduction in zip(grids, run(Ctr(keep=1), grids), strict=True):
        assert reduction.keep_N.tolist() == list(range(grid.n_tokens))
        assert reduction.mix_MN is not None
        assert torch.equal(reduction.mix_MN, torch.eye(grid.n_tokens))


@pytest.mark.parametrize("name", FRONT_ENDS)
@settings(max_examples=20, deadline=None)
@given(grids=streams(n_grids=5))
def test_every_front_end_leaves_a_token_of_each_frame_and_changes_no_state(name: str, grids: list[Grid]) -> None:
    front_end, state = FRONT_ENDS[name](), None
    for grid in grids:
        reduction, after = front_end.reduce(grid, state)
        again, _ = front_end.reduce(grid, state)
        assert torch.equal(reduction.keep_N, again.keep_N)
        assert 1 <= len(reduction.keep_N) <= front_end.tokens_after(grid.n_tokens)
        assert bool((reduction.keep_N[1:] > reduction.keep_N[:-1]).all())
        state = after


class _EveryOther(FrontEnd):
    """Keeps every other token, as the sum of itself and the one before; its state counts grids."""

    name = "every-other"

    def reduce(self, grid: Grid, state: int | None) -> tuple[Reduction, int]:
        keep_N = torch.arange(1, grid.n_tokens, 2)
        mix_MN = torch.zeros(len(keep_N), grid.n_tokens)
        mix_MN[torch.arange(len(keep_N)), keep_N] = 1
        mix_MN[torch.arange(len(keep_N)), keep_N - 1] = 1
        return Reduction(keep_N, mix_MN), (state or 0) + 1


def test_what_is_left_of_encoded_frames_is_consistent() -> None:
    """Two grids of text, four cells, text: text stays, taps follow, nothing moves up."""
    is_text_N = torch.tensor([1, 0, 0, 0, 0, 1] * 2, dtype=torch.bool)
    row_N = torch.arange(12).masked_fill(is_text_N, -1)
    tap_NE = torch.tensor([[10.0 * i] for i in range(8)])
    tokens = VisualTokens(
        embeddings_NE=torch.arange(12.0)[:, None],
        positions_RN=torch.arange(12).expand(3, -1),
        n_positions=12,
        frame_N=torch.tensor([0] * 6 + [1] * 6),
        row_N=row_N,
        column_N=row_N,
        times_seconds_N=torch.arange(12.0).double(),
        n_frames=4,
        n_grids=2,
        is_text_N=is_text_N,
        deepstack=(tap_NE, -tap_NE),
    )
    left, states = reduce_tokens([_EveryOther()], tokens, (None,))
    assert states == (2,)
    assert left.embeddings_NE[:, 0].tolist() == [0, 1 + 2, 3 + 4, 5, 6, 7 + 8, 9 + 10, 11]
    assert left.positions_RN[2].tolist() == left.times_seconds_N.tolist() == [0, 2, 4, 5, 6, 8, 10, 11]
    assert left.row_N.tolist() == [-1, 2, 4, -1, -1, 8, 10, -1]
    assert left.is_text_N is not None
    assert left.is_text_N.tolist() == [True, False, False, True] * 2
    assert left.frame_N.tolist() == [0] * 4 + [1] * 4
    assert left.deepstack[0][:, 0].tolist() == [0 + 10, 20 + 30, 40 + 50, 60 + 70]
    assert torch.equal(left.deepstack[1], -left.deepstack[0])
    assert (left.n_positions, left.n_frames, left.n_grids) == (12, 4, 2)
    assert tokens.embeddings_NE[:, 0].tolist() == list(range(12))
