"""The newest frames and nothing else: first in, first out."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy


class SlidingWindow(Policy):
    """Evict the oldest frames until the budget holds; whole frames, unless one frame alone exceeds the budget.

    Needs: nothing. Budget: tokens of the window. Survivors keep the traces of what they attended to.
    positions: "keep" leaves the survivors where they are, "compact" moves them to the front after each eviction; a
    window has no gaps, so that the other ways come to the same but for "ranks" where positions have three axes.
    """

    name: ClassVar[str] = "sliding-window"
    is_per_frame: ClassVar[bool] = True

    positions: Positions = Positions.KEEP

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        budget = self.budget_tokens or 0
        frame_N = view.layers[0].frame_N  # the same rows in every layer
        if frame_N.numel() <= budget:
            return Plan.keep_all(), state
        return Plan.same_rows(newest_frames(frame_N, budget), view.n_layers, self.positions), state


def newest_frames(frame_N: torch.Tensor, budget: int) -> torch.Tensor:
    """Rows of the newest whole frames that fit, or the newest rows of one that does not; fewer fit than there are."""
    rows_N = torch.arange(frame_N.numel(), device=frame_N.device)
    newest_out = frame_N[-budget - 1]
    keep_N = rows_N[frame_N > newest_out]
    return keep_N if keep_N.numel() else rows_N[rows_N.numel() - budget :]
