"""Mean frames: cell by cell against a plain loop, and in an archive.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_stream.memory.mean_frame import mean_frame, n_cells
from hermes_stream.memory.token_table import TokenKind, TokenTable


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), n=st.integers(0, 24))
def test_a_mean_frame_is_the_mean_of_each_cell(seed: int, n: int) -> None:
    """Rows of any cells, some without one."""
    generator = torch.Generator().manual_seed(seed)
    row_N, column_N = (torch.randint(0, 3, (n,), generator=generator) for _ in range(2))
    row_N[torch.rand(n, generator=generator) < 0.2] = -1
    key_KND, value_KND = (torch.randn(2, n, 4, generator=generator) for _ in range(2))
    table = TokenTable.build(
        kind=TokenKind.VISION,
        identity_N=10 + torch.arange(n),
        position_RN=20 + torch.arange(n)[None],
        frame_N=torch.arange(n) // 3,
        row_N=row_N,
        column_N=column_N,
        seconds_N=torch.arange(n).double() / 2,
    )
    cells: dict[tuple[int, int], list[int]] = {}
    for row, cell in enumerate(zip(row_N.tolist(), column_N.tolist(), strict=True)):
        if cell[0] >= 0:
            cells.setdefault(cell, []).append(row)
    made, key_KCD, mean_KCD = mean_frame(table, key_KND, value_KND, identity=100)
    assert n_cells(table) == made.n_tokens == len(cells)
    assert made.identity_HN[0].tolist() == list(range(100, 100 + len(cells)))
    assert bool((made.kind_HN == TokenKind.SUMMARY).all())
    assert not made.count_HN.any()
    for number, (cell, rows) in enumerate(sorted(cells.items())):
        assert (int(made.row_HN[0, number]), int(made.column_HN[0, number])) == cell
        assert int(made.position_RHN[0, 0, number]) == 20 + rows[-1]
        assert int(made.frame_HN[0, number]) == rows[-1] // 3
        assert float(made.seconds_HN[0, number]) == rows[-1] / 2
        for ours, all_KND in ((key_KCD, key_KND), (mean_KCD, value_KND)):
            expected = sum(all_KND[:, row] for row in rows) / len(rows)
            assert ours[:, number].flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-5)  # float32
