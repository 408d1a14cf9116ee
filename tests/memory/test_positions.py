"""Three axes: time moves, grids stay grids, near differences keep their scale, all layers share one clock."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.positions import TimeMap, close_gaps, compact_rows, rank_rows
from hermes_stream.memory.token_table import TokenKind, TokenTable

from ..oracles.eviction_oracle import laid_out_afresh

N_PREFIX = 2
ROWS, COLUMNS = 2, 3


def grid_table(times: list[int], *, time_on_all_axes: bool = False) -> TokenTable:
    """A prefix of two, then a grid of 2 x 3 tokens at each time."""
    prefix_RN = torch.arange(N_PREFIX).expand(3, -1)
    grids = []
    for time in times:
        cells = torch.cartesian_prod(torch.arange(ROWS), torch.arange(COLUMNS)).T
        base = time if time_on_all_axes else N_PREFIX
        grids.append(torch.cat((torch.full((1, ROWS * COLUMNS), time), base + cells)))
    position_RN = torch.cat([prefix_RN, *grids], dim=-1)
    identity_N = torch.arange(position_RN.shape[1])
    return TokenTable.build(kind=TokenKind.VISION, identity_N=identity_N, position_RN=position_RN)


def grid_at(position_RHN: torch.Tensor, index: int) -> torch.Tensor:
    start = N_PREFIX + index * ROWS * COLUMNS
    return position_RHN[:, 0, start : start + ROWS * COLUMNS]


increasing = st.lists(st.integers(0, 500), min_size=1, max_size=8, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    times=increasing,
    others=increasing,
    span=st.integers(5, 400),
    on_all_axes=st.booleans(),
    unheld=st.integers(0, 90),
    later=st.lists(st.integers(1, 10**6), max_size=3, unique=True).map(sorted),
)
def test_time_maps_keep_order_grids_and_near_differences(
    times: list[int], others: list[int], span: int, on_all_axes: bool, unheld: int, later: list[int]
) -> None:
    """Also of times that are still to come, however late these are."""
    times, others = [N_PREFIX + t for t in times], [N_PREFIX + t for t in others]
    tables = [grid_table(held, time_on_all_axes=on_all_axes) for held in (times, others)]
    newest = max(*times, *others) + unheld
    coming = [newest + seconds for seconds in later]
    time_map = TimeMap(tables, N_PREFIX, newest, span, coming)
    axes = (0, 1, 2) if on_all_axes else (0,)
    placed = [time_map.place(table, N_PREFIX, axes) for table in tables]
    new_times: dict[int, int] = {}
    for table, held, new_RHN in zip(tables, (times, others), placed, strict=True):
        assert torch.equal(new_RHN[..., :N_PREFIX], table.position_RHN[..., :N_PREFIX])
        for index, time in enumerate(held):
            before, after = grid_at(table.position_RHN, index), grid_at(new_RHN, index)
            move = int(after[0, 0]) - time
            assert torch.equal(after[0], before[0] + move)
            expected = before[1:] + move if on_all_axes else before[1:]
            assert torch.equal(after[1:], expected)
            assert new_times.setdefault(time, time + move) == time + move
    union = sorted(set(times) | set(others))
    new_times[newest] = time_map.newest_time
    new_times.update(zip(coming, time_map.coming, strict=True))
    union = sorted({*union, newest, *coming})
    mapped = [new_times[time] for time in union]
    assert mapped[0] == N_PREFIX
    gaps = [b - a for a, b in pairwise(union)]
    new_gaps = [b - a for a, b in pairwise(mapped)]
    if sum(gaps) <= span:
        assert new_gaps == gaps
    else:
        cap = max(new_gaps)
        assert new_gaps == [min(gap, cap) for gap in gaps]
        assert sum(new_gaps) <= max(span, len(gaps))
        assert sum(min(gap, cap + 1) for gap in gaps) > span or cap == 1


def test_a_summary_that_stands_as_text_does_goes_on_doing_so() -> None:
    """One at the end of its layer, on the same position of all axes; one in the mean of its rows moves as a frame."""
    position_RN = torch.tensor([[0, 1, 2, 302, 310, 311], [0, 1, 4, 4, 6, 311], [0, 1, 4, 5, 5, 311]])
    kind_N = torch.tensor([TokenKind.PREFIX] * 2 + [TokenKind.VISION] * 2 + [TokenKind.SUMMARY] * 2)
    table = TokenTable.build(kind=kind_N, identity_N=torch.arange(6), position_RN=position_RN)
    placed = TimeMap([table], N_PREFIX, 302, 20).place(table, N_PREFIX, (0,))[:, 0]
    assert placed.tolist() == [[0, 1, 2, 13, 21, 22], [0, 1, 4, 4, 6, 22], [0, 1, 4, 5, 5, 22]]


def test_ranks_are_those_of_the_release() -> None:
    """HERMES' worked example: P = 2, kept (t,h,w) = (2,2,2), (2,3,5), (6,2,5) become (2,2,2), (2,3,3), (3,2,3)."""
    position_RN = torch.tensor([[0, 1, 2, 2, 6], [0, 1, 2, 3, 2], [0, 1, 2, 5, 5]])
    table = TokenTable.build(kind=TokenKind.VISION, identity_N=torch.arange(5), position_RN=position_RN)
    assert rank_rows(table, 2)[:, 0].tolist() == [[0, 1, 2, 2, 3], [0, 1, 2, 3, 2], [0, 1, 2, 3, 3]]


def test_ranks_of_one_axis_close_gaps() -> None:
    table = TokenTable.build(
        kind=TokenKind.VISION, identity_N=torch.arange(4), position_RN=torch.tensor([[0, 1, 7, 30]])
    )
    assert rank_rows(table, 2)[0, 0].tolist() == [0, 1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    grids=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6),
    kept=st.lists(st.sets(st.integers(0, 60)), min_size=1, max_size=3),
)
def test_closed_gaps_are_those_of_a_layout_made_afresh(grids: list[tuple[int, int, int]], kept: list[set[int]]) -> None:
    """Text and whole grids, whichever of them go, eviction after eviction."""
    cells = [
        cell
        for frame, (n_text, n_rows, n_columns) in enumerate(grids)
        for cell in (
            *[(frame, -1, -1)] * n_text,
            *((frame, row, column) for row in range(n_rows) for column in range(n_columns)),
        )
    ]
    position_RN = torch.tensor(laid_out_afresh(cells, N_PREFIX)).T
    prefix_RN = torch.arange(N_PREFIX).expand(3, -1)
    whole_RN = torch.cat((prefix_RN, position_RN), dim=-1)
    table = TokenTable.build(kind=TokenKind.VISION, identity_N=torch.arange(whole_RN.shape[1]), position_RN=whole_RN)
    held = list(range(len(cells)))
    for gone in kept:
        # Text goes row by row, a grid as a whole, by its frame.
        stays = [(frame if row >= 0 else index + 10) not in gone for index, (frame, row, _) in enumerate(cells)]
        rows = [row for row in range(len(held)) if stays[held[row]]]
        held = [held[row] for row in rows]
        table = table.select(torch.tensor([*range(N_PREFIX), *(N_PREFIX + row for row in rows)]))
        table = table.with_positions(close_gaps(table, N_PREFIX, (0, 1, 2)))
        expected = [[index] * 3 for index in range(N_PREFIX)]
        expected += [list(position) for position in laid_out_afresh([cells[index] for index in held], N_PREFIX)]
        assert table.position_RHN[:, 0].T.tolist() == expected


@settings(max_examples=40, deadline=None)
@given(keep=st.lists(st.sets(st.integers(0, 9), min_size=4, max_size=4).map(sorted), min_size=1, max_size=2))
def test_closing_gaps_in_one_dimension_is_compacting(keep: list[list[int]]) -> None:
    """Also where heads hold different rows."""
    whole = TokenTable.build(kind=TokenKind.VISION, identity_N=torch.arange(12), position_RN=5 * torch.arange(12)[None])
    prefix = TokenTable.build(kind=TokenKind.PREFIX, identity_N=torch.arange(2), position_RN=torch.arange(2)[None])
    rows = torch.tensor(keep) + 2
    table = prefix.concat(whole.with_positions(torch.arange(12)[None, None]).select(rows))
    assert torch.equal(close_gaps(table, 2, (0,)), compact_rows(table, 2))
