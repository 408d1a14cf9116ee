"""Protect the newest frames in any store: it decides about what is older.

Shape letters: N rows of one layer after its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from hermes_stream.errors import PolicyError
from hermes_stream.memory.plan import Plan
from hermes_stream.memory.restrict import older_view, part_layers, with_newest
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Probe, StreamFacts, Turn
from hermes_stream.policies.wrapper import Wrapper


class Recent(Wrapper):
    """Keep the newest frames whole, whatever the store would do; it sees and budgets what is older.

    Needs: a store of rows. Budget: rows of each layer, those of the newest frames included.
    frames: how many, as the memory numbers them: Qwen makes one of two.

    To the store a frame arrives when it leaves the newest ones. Its prompts are run over the whole memory, and it sees
    their attention to older rows.
    """

    name: ClassVar[str] = "recent"

    frames: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if self.ingests != "tokens":
            raise ValueError(f"{self.inner.title} holds no rows that could be protected; leave recent out")
        return self

    def start(self, stream: StreamFacts) -> Any:
        reserved, budget = self._reserved(stream.tokens_per_frame), self.budget_tokens
        needed = reserved + stream.tokens_per_frame
        if budget is not None and budget < needed:
            raise PolicyError(
                f"recent: a budget of {budget} tokens cannot hold {self.frames} protected frames of "
                f"{stream.tokens_per_frame} and one more; give at least {needed}, or protect fewer"
            )
        inside = self._inside(reserved)
        budgets_L = inside.layer_budgets(stream.n_layers)
        if budgets_L is not None and len(set(budgets_L)) > 1:
            raise PolicyError(
                f"recent: {self.inner.name} divides the budget among the layers, but each holds the same newest "
                "frames; leave shares or recent out"
            )
        return inside.start(stream)

    def layer_budgets(self, n_layers: int) -> tuple[int, ...] | None:
        return None if self.budget_tokens is None else (self.budget_tokens,) * n_layers

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        # How many of the rows are new is not known here, but a store's trigger compares rows with the budget, and both
        # are less by the same.
        reserved = self._reserved(stream.tokens_per_frame)
        return self._inside(reserved).probes([max(n - reserved, 0) for n in n_rows], history, stream)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        first_frame = max(view.frames_seen - self.frames, 0)
        partings = part_layers(view, first_frame)
        inside = self._inside(partings[0].newest.shape[-1])
        plan, state = inside.after_chunk(older_view(view, partings, first_frame), state)
        return with_newest(plan, partings), state

    def _reserved(self, tokens_per_frame: int) -> int:
        return self.frames * tokens_per_frame
