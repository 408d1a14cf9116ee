"""What a wrapper is: a policy around another one, which it shows less or asks less of.

A new wrapper is one file with one class, one line in `policies/__init__.py` and a line in docs/policies.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import model_validator

from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.shape import MemoryBits
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts, ViewSpec
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Turn


class Wrapper(Policy):
    """Base of all wrappers: each does what the policy inside does, but for the methods that it replaces.

    The budget is that of the whole and stands outside, as front-ends do; the policy inside has none of its own. The
    precision of the rows stands with the policy inside, and is the same here.
    """

    holds: ClassVar[frozenset[str]] = frozenset({"inner", "budget", "memory_bits", "front_ends"})

    inner: Policy

    @model_validator(mode="before")
    @classmethod
    def _take_over(cls, data: Any) -> Any:
        """What was given to the policy inside belongs to the whole."""
        inner = data.get("inner") if isinstance(data, dict) else None
        if not isinstance(inner, Policy):
            return data
        if inner.budget is not None and data.get("budget") is not None:
            raise ValueError(f"two budgets: {inner.budget} inside and {data['budget']} outside; give one")
        outer = {"budget": data.get("budget") or inner.budget}
        outer["memory_bits"] = inner.memory_bits
        outer["front_ends"] = (*data.get("front_ends", ()), *inner.front_ends)
        return {**data, **outer, "inner": inner.model_copy(update={"budget": None, "front_ends": ()})}

    @model_validator(mode="after")
    def _check_once(self) -> Self:
        inside = self.inner
        while isinstance(inside, Wrapper):
            if inside.name == self.name:
                raise ValueError(f"{self.name} is wrapped around the store twice; give it once")
            inside = inside.inner
        return self

    # What a plain policy says once for its class, a wrapper reads from the policy inside.
    @property
    def ingests(self) -> Literal["tokens", "features"]:  # type: ignore[override]
        return self.inner.ingests

    @property
    def is_bounded(self) -> bool:  # type: ignore[override]
        return self.inner.is_bounded

    @property
    def needs_cells(self) -> bool:  # type: ignore[override]
        return self.inner.needs_cells

    @property
    def is_per_frame(self) -> bool:  # type: ignore[override]
        return self.inner.is_per_frame

    @property
    def reads_newest(self) -> bool:  # type: ignore[override]
        return self.inner.reads_newest

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        return self.inner.needs_features

    @property
    def texts(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.inner.texts

    @property
    def reads_history(self) -> bool:  # type: ignore[override]
        return self.inner.reads_history

    @property
    def recalls_at(self) -> Literal["questions", "always"]:  # type: ignore[override]
        return self.inner.recalls_at

    @property
    def plans_rounds(self) -> bool:  # type: ignore[override]
        return self.inner.plans_rounds

    @property
    def pins_instruction(self) -> bool:
        return self.inner.pins_instruction

    @property
    def archive(self) -> ArchiveSettings | None:
        return self.inner.archive

    @property
    def budget_tokens(self) -> int | None:
        return self.inner.budget_tokens if self.budget is None else self.budget

    @property
    def placement(self) -> Positions:
        return self.inner.placement

    def stages(self, budget: int | None) -> list[str]:
        return [*self.inner.stages(budget), self.own_text()]

    def with_memory_bits(self, memory_bits: MemoryBits) -> Self:
        inner = self.inner.with_memory_bits(memory_bits)
        return self.model_copy(update={"inner": inner, "memory_bits": memory_bits})

    def with_layers(self, borders: tuple[int, int]) -> Self:
        return self.model_copy(update={"inner": self.inner.with_layers(borders)})

    def layer_budgets(self, n_layers: int) -> tuple[int, ...] | None:
        return self._inside().layer_budgets(n_layers)

    def held_back(self, stream: StreamFacts) -> int:
        return self._inside().held_back(stream)

    def seen_rows(self, stream: StreamFacts) -> int | None:
        return self._inside().seen_rows(stream)

    def start(self, stream: StreamFacts) -> Any:
        return self._inside().start(stream)

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        return self._inside().probes(n_rows, history, stream)

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        return self._inside().after_chunk(view, state)

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:
        return self._inside().view_for(view, state, asked)

    def recall(self, layer: int, asked: Asked, state: Any) -> Recalled:
        return self._inside().recall(layer, asked, state)

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: Any) -> Sequence[Recalled]:
        return self._inside().settle(asked, recalled, state)

    def forget(self, state: Any, forgetting: Forgetting, stream: StreamFacts) -> Any:
        return self._inside().forget(state, forgetting, stream)

    def layer_groups(self, n_layers: int) -> dict[str, range]:
        return self.inner.layer_groups(n_layers)

    @property
    def store(self) -> Policy:
        """What all wrappers are around."""
        return self.inner.store if isinstance(self.inner, Wrapper) else self.inner

    def _inside(self, n_reserved: int = 0) -> Policy:
        """The policy inside, with what the budget leaves it beside so many tokens."""
        budget = self.budget_tokens
        return self.inner if budget is None else self.inner.with_budget(budget - n_reserved)
