"""FluxMem's store: whole frames, then what changed in them, then one token for each patch of likeness.

Source: FluxMem, from its formulas and the constants of its released code.

Shape letters: N rows of the bank or of one frame, E model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.change import is_changed, patch_folds
from hermes_stream.policies.feature_rows import (
    FeaturePolicy,
    cells,
    first_within,
    frame_distance,
    frames_between,
    newest_that_fit,
    rows_by_frame,
)
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.otsu import Edge

_FRAMES_PER_SHORT, _MIDDLE_PER_SHORT = 4, 8  # the source's 8 and 64 frames where the budget holds 32
_MIDDLE_SHARE = 2  # the middle takes one row in two at most


@dataclass(frozen=True, slots=True, eq=False)
class FluxMemState:
    """Where the tiers begin: frames from first_short on are whole, those from first_middle on are thinned.

    distance_N: of the tokens of frame first_short to the frame before, which is thinned by now; None at the beginning.
    """

    first_middle: int = 0
    first_short: int = 0
    distance_N: torch.Tensor | None = None


class FluxMem(FeaturePolicy):
    """Hold whole frames, what changed in the frames before them, and one token for each patch of older ones.

    Needs: features. Budget: rows of the bank, merged tokens and words included.

    A frame that leaves the short tier keeps the tokens that differ from the next frame or from the previous one: whose
    distance, 1 minus the largest cosine in the 3 x 3 cells around, reaches Otsu's threshold of its frame; but none
    whose cosine with the next frame is above 0.8. A frame that leaves the middle tier keeps one token for each
    connected patch: neighbours (of eight) are linked where their distance is at most Otsu's threshold of all of them,
    and a patch becomes its mean, at the member nearest to it.

    short, middle: frames in these tiers; by default a quarter of what the budget holds, and eight times that, which
    are the source's 8 and 64 frames where it holds 32.
    otsu: the threshold is the "upper" edge of the last low bin, or its "centre" as in the released code, where values
    just above it count as changed.

    What the source does not say: frames move on when the bank is over its budget, not before; the middle tier takes at
    most half of the budget, its oldest frames go on earlier; and where all that does not suffice the oldest tokens go.
    A change is known when the next frame is there, so at least one frame is whole.
    """

    name: ClassVar[str] = "fluxmem"
    needs_cells: ClassVar[bool] = True

    short: int | None = Field(default=None, ge=1)
    middle: int | None = Field(default=None, ge=0)
    otsu: Edge = "upper"

    def start(self, stream: StreamFacts) -> FluxMemState:
        super().start(stream)
        return FluxMemState()

    def after_chunk(self, view: MemoryView, state: FluxMemState) -> tuple[Plan, FluxMemState]:
        bank, budget = view.features, self.budget_tokens or 0
        if bank.n_rows <= budget:
            return Plan.keep_all(), state
        n_short, n_middle = self._tiers(view)
        stays_N = bank.kind_N != TokenKind.TEXT
        first_short, distance_N = self._thin(bank, stays_N, state, n_short)
        first_middle = max(state.first_middle, first_short - n_middle)
        first_middle = first_within(bank, stays_N, range(first_middle, first_short), budget // _MIDDLE_SHARE)
        folds = []
        for rows_N in frames_between(bank, stays_N, state.first_middle, first_middle):
            merged = patch_folds(bank.embeddings_NE, rows_N, cells(bank, rows_N), at=self.otsu)
            for fold in merged:
                stays_N[fold.rows_N] = False
            folds += merged
        plan = newest_that_fit(bank, stays_N.nonzero()[:, 0], folds, budget)
        return plan, FluxMemState(first_middle, first_short, distance_N)

    def forget(self, state: FluxMemState, forgetting: Forgetting, stream: StreamFacts) -> FluxMemState:  # noqa: ARG002
        """The oldest whole frame is compared with the next one only, as the first of a stream is."""
        return replace(state, distance_N=None)

    def _tiers(self, view: MemoryView) -> tuple[int, int]:
        """Frames in the short and in the middle tier."""
        fits = max((self.budget_tokens or 0) // max(view.tokens_per_frame, 1), 1)
        n_short = min(self.short or max(fits // _FRAMES_PER_SHORT, 1), fits)
        return n_short, n_short * _MIDDLE_PER_SHORT if self.middle is None else self.middle

    def _thin(
        self, bank: FeatureView, stays_N: torch.Tensor, state: FluxMemState, n_short: int
    ) -> tuple[int, torch.Tensor | None]:
        """Frames leave the short tier: unmark what did not change. Returns the new `first_short` and `distance_N`."""
        frames, distance_N = rows_by_frame(bank, state.first_short), state.distance_N
        n_leaving = max(len(frames) - n_short, 0)
        for rows_N, next_N in pairwise(frames[: n_leaving + 1]):
            to_next_N = frame_distance(bank, rows_N, next_N)
            stays_N[rows_N] = is_changed(to_next_N, distance_N, at=self.otsu)
            distance_N = frame_distance(bank, next_N, rows_N)
        first_short = int(bank.frame_N[frames[n_leaving][0]]) if frames else state.first_short
        return first_short, distance_N
