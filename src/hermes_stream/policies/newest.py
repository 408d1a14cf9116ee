"""What wrappers that set the newest frames apart have in common: the store decides about what is older."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from hermes_stream.errors import PolicyError
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.wrapper import Wrapper


class NewestApart(Wrapper):
    """Base of recent and fresh. To the store a frame arrives when it leaves the newest ones.

    frames: how many, as the memory numbers them: Qwen makes one of two.
    """

    # Whether the newest frames' embeddings are in the feature bank.
    holds_features: ClassVar[bool] = False

    frames: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.ingests != "tokens":
            raise ValueError(f"{self.inner.title} holds features, not rows; leave {self.name} out")
        if self.inner.needs_features:
            raise ValueError(
                f"{self.inner.title} looks at each frame as it comes, which {self.name} delays; leave it out"
            )
        return self

    def start(self, stream: StreamFacts) -> Any:
        reserved, budget = self._reserved(stream.tokens_per_frame), self.budget_tokens
        needed = reserved + stream.tokens_per_frame
        if budget is not None and budget < needed:
            raise PolicyError(
                f"{self.name}: a budget of {budget} tokens cannot hold {self.frames} newest frames of "
                f"{stream.tokens_per_frame} and one more; give at least {needed}, or fewer frames"
            )
        inside = self._inside(reserved)
        budgets_L = inside.layer_budgets(stream.n_layers)
        if budgets_L is not None and len(set(budgets_L)) > 1:
            raise PolicyError(
                f"{self.name}: {self.inner.name} divides the budget among the layers, but each holds the same newest "
                f"frames; leave shares or {self.name} out"
            )
        if inside.held_back(stream):
            raise PolicyError(
                f"{self.name}: {self.inner.title} holds the newest frames back itself; leave {self.name} out"
            )
        return inside.start(stream)

    def layer_budgets(self, n_layers: int) -> tuple[int, ...] | None:
        return None if self.budget_tokens is None else (self.budget_tokens,) * n_layers

    def _reserved(self, tokens_per_frame: int) -> int:
        return self.frames * tokens_per_frame
