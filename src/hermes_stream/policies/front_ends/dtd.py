"""DTD: drop the tokens that resemble the same cell of the frame before.

Source: TimeChat-Online's differential token dropping, from the paper's rule.

Shape letters: N vision tokens of one grid, M cells remembered, E model width.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch.nn import functional

from hermes_stream.policies.front_ends.base import FrontEnd, Grid, Reduction, SeenGrid

_COLUMNS = 2**20  # more than any grid has; makes one number of row and column


class Dtd(FrontEnd):
    """Drop the tokens whose cell looks as it did in the frame before.

    Needs: nothing but the embeddings. The first frame stays whole, and of each frame at least the token that changed
    most; a cell that was not seen before has changed.
    drop: share of each frame's tokens to drop, the most similar first, of equal ones the earlier. threshold: instead,
    drop every token whose cosine is larger. against: the same cell in the "previous" frame, or the last token "kept"
    there, so that slow drift adds up until it counts.

    The source applies its share to a whole clip, which a stream does not have; its form on pixels is not here.
    """

    name: ClassVar[str] = "dtd"

    drop: float = Field(default=0.5, ge=0, lt=1)
    threshold: float | None = Field(default=None, ge=-1, le=1)
    against: Literal["previous", "kept"] = "previous"

    @model_validator(mode="after")
    def _check_forms(self) -> Self:
        if self.threshold is not None and "drop" in self.model_fields_set:
            raise ValueError("drop is a share and threshold a cosine; give one of them")
        return self

    def reduce(self, grid: Grid, state: SeenGrid | None) -> tuple[Reduction, Any]:
        if state is None:
            return Reduction(torch.arange(grid.n_tokens, device=grid.cell_N2.device)), SeenGrid.of(grid)
        cosine_N = same_cell_cosine(grid, state)
        is_dropped_N = self._most_similar(cosine_N) if self.threshold is None else cosine_N > self.threshold
        is_dropped_N[cosine_N.argmin()] = False
        keep_N = (~is_dropped_N).nonzero()[:, 0]
        after = SeenGrid.of(grid) if self.against == "previous" else _with_kept(state, grid, keep_N)
        return Reduction(keep_N), after

    def _most_similar(self, cosine_N: torch.Tensor) -> torch.Tensor:
        # Rounded down, but not where a float falls short of a whole number.
        n_drop = int(self.drop * cosine_N.shape[0] + 1e-6)
        is_dropped_N = torch.zeros_like(cosine_N, dtype=torch.bool)
        is_dropped_N[cosine_N.argsort(descending=True, stable=True)[:n_drop]] = True
        return is_dropped_N & (cosine_N > -torch.inf)


def same_cell_cosine(grid: Grid, seen: SeenGrid) -> torch.Tensor:
    """Cosine of each token with what was seen in its cell, float32 `[N]`; -inf where nothing was."""
    cell_N, seen_cell_M = _cell_numbers(grid.cell_N2), _cell_numbers(seen.cell_N2)
    sorted_M, order_M = seen_cell_M.sort()
    place_N = torch.searchsorted(sorted_M, cell_N).clamp(max=sorted_M.shape[0] - 1)
    partner_NE = seen.embeddings_NE[order_M[place_N]]
    cosine_N = functional.cosine_similarity(grid.embeddings_NE.float(), partner_NE.float(), dim=-1).clamp(max=1)
    # Rounding must not decide between tokens that did not change at all.
    cosine_N = cosine_N.masked_fill((grid.embeddings_NE == partner_NE).all(dim=-1), 1)
    return cosine_N.masked_fill(sorted_M[place_N] != cell_N, -torch.inf)


def _with_kept(seen: SeenGrid, grid: Grid, keep_N: torch.Tensor) -> SeenGrid:
    """The last kept token of every cell."""
    is_replaced_M = torch.isin(_cell_numbers(seen.cell_N2), _cell_numbers(grid.cell_N2[keep_N]))
    return SeenGrid(
        torch.cat((seen.embeddings_NE[~is_replaced_M], grid.embeddings_NE[keep_N])),
        torch.cat((seen.cell_N2[~is_replaced_M], grid.cell_N2[keep_N])),
    )


def _cell_numbers(cell_N2: torch.Tensor) -> torch.Tensor:
    return cell_N2[:, 0] * _COLUMNS + cell_N2[:, 1]
