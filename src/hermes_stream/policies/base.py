"""What a memory policy is: a frozen value that turns views into plans.

A new policy is one file with one class, one line in `policies/__init__.py` and one row in docs/policies.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import BeforeValidator, Field, model_validator

from hermes_stream.errors import PolicyError
from hermes_stream.memory.archive_store import ArchiveSettings
from hermes_stream.memory.plan import Plan, Positions
from hermes_stream.memory.recall import Placement, Recalled
from hermes_stream.memory.shape import MemoryBits
from hermes_stream.memory.sizes import tensor_bytes
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.front_ends.base import FrontEnd
from hermes_stream.policies.part import Part, as_number
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Turn


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a policy may know of its stream before the first frame.

    seed: of everything random in the policy. prefix_tokens: rows that stand before the first frame in every layer.
    """

    n_layers: int
    tokens_per_frame: int
    family: str
    seed: int = 0
    prefix_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """A text to run over the memory at an interval's end, and the layers whose attention is wanted.

    queries: "true" are those of a causal forward of the text over the memory; "embedding" those that each layer makes
    of the text's raw embeddings, without a mask among them: the shortcut of HERMES' release.
    kind: "text" is run as it stands; "question" as a question asked now, in the family's template up to where the
    answer starts. An empty question is the template's own tokens.
    wants: the attention that it pays (`LayerView.mass`), or its mean un-rotated query (`LayerView.query`; true ones
    only).
    """

    name: str
    text: str
    layers: range
    queries: Literal["true", "embedding"] = "true"
    kind: Literal["text", "question"] = "text"
    wants: Literal["mass", "query"] = "mass"


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What one question may see.

    sees_held: the rows of the memory; otherwise only its prefix.
    recalls: the policy's `recall` says what is seen, layer by layer. asks_first: a pass of the bare question, whose
    queries `recall` gets, comes before the answer's; without it `recall` gets no queries and may not look at them.
    positions: where the rows that are seen stand: "stored" as they do in the memory, "view" one after the other.
    fresh_rows: rows of the feature bank, int64, sorted, that are run through the text model for this question, behind
        what it sees; None is none of them.
    fresh_sees_held: whether these read the rows of the memory too; otherwise only its prefix, as if they followed it at
        once, and one another.
    first_frame: of the memory, whatever else is said, the rows of this frame and of newer ones are seen and no others.
    """

    sees_held: bool = True
    recalls: bool = False
    asks_first: bool = True
    positions: Placement = "stored"
    fresh_rows: torch.Tensor | None = None
    fresh_sees_held: bool = True
    first_frame: int | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether a question sees some of the rows, not simply all or none."""
        return self.recalls or self.first_frame is not None


class Policy(Part, ABC):
    """Base of all policies: options are fields, decisions are methods, state is an explicit value.

    `start` makes the state, `after_chunk` takes it and returns the next one; a state is never changed in place, so
    that forks and snapshots may share it. Methods must be deterministic given the state.

    budget: tokens after the prefix that a layer may hold once an interval ends, those that wait as features included;
    None takes the checkpoint's default.
    memory_bits: of held keys and values: 16 is the model's precision, 8 is explained in `QuantisedSlab`. Features that
    wait and archived rows have their own.
    front_ends: what tokens pass before the text model reads them, the first one first.
    """

    holds: ClassVar[frozenset[str]] = frozenset({"front_ends"})
    # "tokens": frames run through the text model as they come, but see `held_back`; "features": they wait beside the
    # memory, and questions run those through it that `view_for` names.
    ingests: ClassVar[Literal["tokens", "features"]] = "tokens"
    is_bounded: ClassVar[bool] = True
    # Whether it compares cells, so that no row may stand for several.
    needs_cells: ClassVar[bool] = False
    # With default options, which rows are held depends on the frames seen alone, not on where intervals ended.
    is_per_frame: ClassVar[bool] = False
    # `LayerView.mass["newest"]`: the attention that the interval's last frame pays to each row.
    reads_newest: ClassVar[bool] = False
    # Whether an interval of a stream with commentary ends with each of its rounds, once the reply is in.
    plans_rounds: ClassVar[bool] = False
    # `MemoryView.encoded`: what the text model got of the interval's frames.
    needs_features: ClassVar[bool] = False
    # `MemoryView.texts`: standing texts of the policy's own, as the text model reads them.
    texts: ClassVar[tuple[str, ...]] = ()
    # Whether what stays depends on the questions that were remembered, so that their order matters.
    reads_history: ClassVar[bool] = False
    # Whether new frames, too, see what `recall` says, or the memory alone.
    recalls_at: ClassVar[Literal["questions", "always"]] = "questions"

    budget: int | None = Field(default=None, ge=1)
    memory_bits: Annotated[MemoryBits, BeforeValidator(as_number)] = 16
    front_ends: tuple[FrontEnd, ...] = ()

    @model_validator(mode="after")
    def _check_unbounded(self) -> Self:
        if self.budget is not None and not self.is_bounded:
            raise ValueError(f"{self.title} holds everything and takes no budget")
        return self

    @model_validator(mode="after")
    def _check_front_ends(self) -> Self:
        names = [front_end.name for front_end in self.front_ends]
        for front_end in self.front_ends:
            if names.count(front_end.name) > 1:
                raise ValueError(f"{front_end.name} stands before the store twice; give it once")
            if front_end.merges and self.needs_cells:
                raise ValueError(
                    f"{self.name} compares cells, which {front_end.name} merges; drop tokens with dtd instead"
                )
        return self

    def __str__(self) -> str:
        """The text that `spec.parse_memory` makes this policy of."""
        return " | ".join([*map(str, self.front_ends), " + ".join(self.stages(self.budget))])

    @property
    def title(self) -> str:
        """What people call it: the name, or of a composition its text without the budget."""
        stages = self.stages(None)
        is_plain = len(stages) == 1 and not self.front_ends
        return self.name if is_plain else " | ".join([*map(str, self.front_ends), " + ".join(stages)])

    def stages(self, budget: int | None) -> list[str]:
        """The texts of the store, with a budget, and of what is wrapped around it."""
        return [self.own_text(budget=budget)]

    @property
    def needs_saliency(self) -> bool:
        """Whether a front-end wants what the vision encoder attends to."""
        return any(front_end.needs_saliency for front_end in self.front_ends)

    def tokens_after(self, n_tokens: int) -> int:
        """The most tokens of a grid of so many that the front-ends let through."""
        for front_end in self.front_ends:
            n_tokens = front_end.tokens_after(n_tokens)
        return n_tokens

    def with_budget(self, budget_tokens: int) -> Self:
        """The same policy with the given budget where none was set."""
        if self.budget is not None or not self.is_bounded:
            return self
        return self.model_copy(update={"budget": budget_tokens})

    def with_memory_bits(self, memory_bits: MemoryBits) -> Self:
        """The same policy, whose rows are held in this precision. Raises PolicyError where it names another."""
        if memory_bits not in get_args(MemoryBits):
            raise PolicyError(f"memory_bits is {memory_bits}; give 16, the model's own precision, or 8")
        if "memory_bits" in self.model_fields_set and self.memory_bits != memory_bits:
            raise PolicyError(f"two precisions: memory_bits={self.memory_bits} in {self} and {memory_bits} beside it")
        return self.model_copy(update={"memory_bits": memory_bits})

    def with_layers(self, borders: tuple[int, int]) -> Self:  # noqa: ARG002
        """The same policy with its layers grouped anew: first middle and first deep layer.

        Raises PolicyError for a policy that treats all layers alike, and where its own options group them already.
        """
        raise PolicyError(f"{self.name} treats all layers alike; layers can be grouped for hermes only")

    @property
    def budget_tokens(self) -> int | None:
        """The budget, or None for a policy without one. Raises PolicyError before a budget is known."""
        if not self.is_bounded:
            return None
        if self.budget is None:
            raise PolicyError(f"{self.name} has no budget yet; give one, as in {self.name}(budget=256)")
        return self.budget

    def layer_budgets(self, n_layers: int) -> tuple[int, ...] | None:
        """Rows that each layer may hold after a plan; the same for all unless a policy says otherwise."""
        return None if self.budget_tokens is None else (self.budget_tokens,) * n_layers

    def seen_rows(self, stream: StreamFacts) -> int | None:  # noqa: ARG002
        """Rows that a question sees at most, where that is not what a layer may hold."""
        return None

    def held_back(self, stream: StreamFacts) -> int:  # noqa: ARG002
        """How many of the newest frames wait as features, until newer ones push them into the text model.

        The budget covers them too. A policy that ingests features need not say this: all of its frames wait.
        """
        return 0

    @property
    def placement(self) -> Positions:
        """How positions are closed up where they run out between plans."""
        return Positions.COMPACT

    @property
    def pins_instruction(self) -> bool:
        """Whether the instruction of a commentary stands before everything that leaves, or is asked with round 0."""
        return True

    @property
    def archive(self) -> ArchiveSettings | None:
        """Precision and limits of the archive, for policies whose plans use one."""
        return None

    def start(self, stream: StreamFacts) -> Any:
        """The state before the first frame. Raises PolicyError if the options cannot work for this stream.

        Policies with a state of their own call this one first: it refuses a budget that cannot hold one frame.
        """
        budgets_L = self.layer_budgets(stream.n_layers)
        if budgets_L is not None and min(budgets_L) < stream.tokens_per_frame:
            raise PolicyError(
                f"{self.name}: a budget of {min(budgets_L)} tokens{self._budget_note(budgets_L)} cannot hold one frame "
                f"of {stream.tokens_per_frame}; give at least {stream.tokens_per_frame}"
            )
        return None

    def _budget_note(self, budgets_L: Sequence[int]) -> str:
        """Which layer's budget is meant, where they differ."""
        return "" if len(set(budgets_L)) == 1 else f" (that of layer {budgets_L.index(min(budgets_L))})"

    def probes(
        self,
        n_rows: Sequence[int],  # noqa: ARG002
        history: Sequence[Turn],  # noqa: ARG002
        stream: StreamFacts,  # noqa: ARG002
    ) -> tuple[Probe, ...]:
        """Texts to run in the forward that ends the interval; empty if the coming plan needs none.

        n_rows: rows that each layer will hold after that forward, before the plan. history: remembered turns.
        """
        return ()

    @abstractmethod
    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        """Decide what stays. Called at the end of every interval, with the probes' attention in the view."""

    def view_for(
        self,
        view: MemoryView,  # noqa: ARG002
        state: Any,  # noqa: ARG002
        asked: torch.Tensor | None,  # noqa: ARG002
    ) -> ViewSpec:
        """What a question sees; the memory itself unless a policy says otherwise.

        asked: embeddings `[T, E]` of the question's text, without template; None where there is no model.
        """
        return ViewSpec()

    def recall(self, layer: int, asked: Asked, state: Any) -> Recalled:  # noqa: ARG002
        """Rows of a layer that a question sees, chosen as it passes the layer; all that is archived, by default.

        Deeper layers' queries know what earlier layers recalled. Must not depend on earlier questions.
        """
        return Recalled(torch.arange(asked.archive.n_rows, device=asked.held.table.data_CHN.device))

    def settle(
        self,
        asked: Sequence[Asked],  # noqa: ARG002
        recalled: Sequence[Recalled],
        state: Any,  # noqa: ARG002
    ) -> Sequence[Recalled]:
        """What the answer sees in each layer, once the question's own pass went through all of them."""
        return recalled

    def forget(self, state: Any, forgetting: Forgetting, stream: StreamFacts) -> Any:  # noqa: ARG002
        """The state once frames are gone: nothing in it may still be made of them.

        By default it stays if it holds no tensors, and is that of a stream that begins if it does.
        """
        return self.start(stream) if tensor_bytes(state) else state

    def layer_groups(self, n_layers: int) -> dict[str, range]:
        """Layers that this policy treats alike, by name, shallow first; for people who look at a memory."""
        return {"all layers": range(n_layers)}
