"""A gate for change: a token enters if nothing around its cell in the frame before is like it.

Source: FluxMem, the rule that compares a frame with the one before it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.policies.front_ends.base import FrontEnd, Grid, Reduction, SeenGrid
from hermes_stream.policies.otsu import otsu_threshold
from hermes_stream.policies.similarity import window_distance


class ChangeGate(FrontEnd):
    """Let in what changed against the 3 x 3 cells around it in the frame before, by a threshold of each frame's own.

    Needs: nothing but the embeddings. The first frame stays whole, and of each frame at least the token that changed
    most. A token's change is 1 minus its largest cosine with the cells around it; it enters if that is at least the
    frame's Otsu threshold and the cosine is not above `similar`.

    FluxMem keeps a token that differs from the frame before or from the one after, and drops it anyway if it resembles
    the one after. A gate that delays nothing knows the frame before only: its half of the first rule, and the second
    one with past for future. Without that one half of a scene at rest would enter again with each frame.
    """

    name: ClassVar[str] = "change-gate"

    similar: float = Field(default=0.8, ge=-1, le=1)

    def reduce(self, grid: Grid, state: SeenGrid | None) -> tuple[Reduction, Any]:
        seen = SeenGrid.of(grid)
        if state is None:
            return Reduction(torch.arange(grid.n_tokens, device=grid.cell_N2.device)), seen
        change_N = window_distance(grid.embeddings_NE, grid.cell_N2, state.embeddings_NE, state.cell_N2)
        enters_N = (change_N >= otsu_threshold(change_N)) & (change_N >= 1 - self.similar)
        enters_N[change_N.argmax()] = True
        return Reduction(enters_N.nonzero()[:, 0]), seen
