"""The first tokens, which soak up attention, and the newest ones.

Source: attention sinks with a window (StreamingLLM, arXiv 2309.17453).

Shape letters: N rows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, StreamFacts


class AttentionSinks(Policy):
    """Keep the first tokens of the stream and the newest ones, and close the gap between them.

    Needs: nothing. Budget: rows of each layer, sinks included; the same rows in all layers.
    sinks: how many tokens after the prefix stay for ever. The text original has 4 at the very beginning; a chat model's
    prefix, which no policy can evict, is such a sink already, so that these come on top of it.

    Rows, not whole frames. Positions close up at each eviction, as slots of a cache would: where they have three axes,
    time alone moves and the distance in time remains.
    """

    name: ClassVar[str] = "attention-sinks"
    is_per_frame: ClassVar[bool] = True

    sinks: int = Field(default=4, ge=0)

    def start(self, stream: StreamFacts) -> Any:
        super().start(stream)
        if self.sinks >= (self.budget_tokens or 0):
            raise PolicyError(
                f"attention-sinks: {self.sinks} sinks leave no room for new tokens in a budget of "
                f"{self.budget_tokens}; give fewer sinks or a larger budget"
            )
        return None

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        n_rows, budget = view.layers[0].n_rows, self.budget_tokens or 0  # the same rows in every layer
        if n_rows <= budget:
            return Plan.keep_all(), state
        row_N = torch.arange(n_rows, device=view.layers[0].table.data_CHN.device)
        keep_N = torch.cat((row_N[: self.sinks], row_N[self.sinks + n_rows - budget :]))
        return Plan.same_rows(keep_N, view.n_layers, Positions.COMPACT), state
