"""Who is judged: memories at their budgets, on one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hermes_stream.engine.engine import Engine
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError
from hermes_stream.evals.episodes import FILE_SIZE
from hermes_stream.evals.shared_encoding import share_encoding
from hermes_stream.models.adapter import Adapter
from hermes_stream.policies.base import Policy
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Frame

# To ask a policy whether it takes a budget at all.
_ANY_BUDGET, _ANY_LAYERS = 1024, 8


@dataclass(frozen=True, slots=True)
class Entry:
    """A memory as the command line writes it. budget: tokens per layer or bytes; None where it has one or needs none.

    layers: see `Engine.open`.
    """

    memory: str
    budget: str | int | None = None
    layers: str | None = None

    def __str__(self) -> str:
        budget = "" if self.budget is None else f" at {self.budget}"
        return self.memory + budget + ("" if self.layers is None else f", layers {self.layers}")

    def open(self, engine: Engine, seed: int = 0) -> Session:
        return engine.open(self.memory, budget=self.budget, layers=self.layers, seed=seed)


def make_entries(memories: Sequence[str], budgets: Sequence[str | int]) -> list[Entry]:
    """Each memory at each budget; those that hold everything, or say themselves how much, once.

    Raises PolicyError or ConfigError for what cannot be, whatever the model.
    """
    for listed in (memories, budgets):
        for item in listed:
            if listed.count(item) > 1:
                raise ConfigError(f"{item} is listed twice; list it once")
    entries = []
    for memory in memories:
        policy = parse_memory(memory, bytes_per_token=1)
        if policy.budget is not None or not _takes_budget(policy):
            entries.append(Entry(memory))
            continue
        for budget in budgets:
            parse_memory(memory, budget, bytes_per_token=1)
            entries.append(Entry(memory, budget))
    return entries


def _takes_budget(policy: Policy) -> bool:
    """Whether a budget decides what is held; a number of frames may take its place."""
    return policy.is_bounded and policy.with_budget(_ANY_BUDGET).layer_budgets(_ANY_LAYERS) is not None


def quarter_of_keep_all(engine: Engine, seconds: float) -> int:
    """A quarter of the tokens that a stream of this length makes."""
    grids = round(seconds * engine.defaults.fps) / engine.model.frames_per_grid
    return int(grids * engine.model.tokens_per_frame) // 4


class Lineup:
    """One model and the entries that are judged on it. A context manager; owns the engine.

    tokens_per_grid: of an episode's frames, exactly. budgets: of each entry, tokens per layer and their bytes over all
    layers; None for those without bounds. fps: frames a second to look at, by default the model's.
    """

    def __init__(self, adapter: Adapter, *, fps: float | None = None) -> None:
        picture = np.zeros((FILE_SIZE[1], FILE_SIZE[0], 3), dtype=np.uint8)
        grid = [Frame(0.0, picture)] * adapter.facts.frames_per_grid
        with torch.inference_mode():
            self.tokens_per_grid = adapter.embed(grid, since_seconds=0.0).embeddings_NE.shape[0]
        self.engine = Engine(share_encoding(adapter))
        self.fps = fps or self.engine.defaults.fps
        self.entries: tuple[Entry, ...] = ()
        self.budgets: dict[Entry, dict[str, int | None]] = {}

    def enter(self, entries: Iterable[Entry], seconds: float) -> None:
        """Set the entries. Raises ConfigError or PolicyError if one cannot watch streams of this length."""
        self.entries = tuple(entries)
        for entry in self.entries:
            with entry.open(self.engine) as session:
                self._check_length(session, seconds)
                self.budgets[entry] = self._budget(session.policy)

    @property
    def model(self) -> str:
        return self.engine.model.name

    def tokens_of(self, n_frames: int) -> float:
        """Tokens that this many sampled frames make."""
        return n_frames / self.engine.model.frames_per_grid * self.tokens_per_grid

    def __enter__(self) -> Lineup:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def _budget(self, policy: Policy) -> dict[str, int | None]:
        tokens = policy.budget_tokens if _takes_budget(policy) else None
        return {
            "budget_tokens": tokens,
            "budget_bytes": None if tokens is None else tokens * self.engine.bytes_per_token(policy),
        }

    def _check_length(self, session: Session, seconds: float) -> None:
        """Who evicts nothing runs out of positions in families that share none of them among tokens."""
        facts = self.engine.model
        if session.policy.is_bounded or facts.n_axes > 1:
            return
        tokens = int(self.tokens_of(round(seconds * self.fps) + session.chunk_frames * 4))
        needed = facts.prefix_tokens + tokens + reserved_positions(facts.max_positions)
        if needed > facts.max_positions:
            raise ConfigError(
                f"{session.policy.title} needs {needed} positions for {seconds:g} s, but {facts.name} has "
                f"{facts.max_positions}; leave it out, or make the episodes shorter"
            )
