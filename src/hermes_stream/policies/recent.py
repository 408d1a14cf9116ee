"""Protect the newest frames in any store: it decides about what is older.

Shape letters: N rows of one layer after its prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.recall import Recalled
from hermes_stream.memory.restrict import Parting, older_view, part_layer, part_layers, with_newest
from hermes_stream.memory.view import MemoryView
from hermes_stream.policies.base import Policy, Probe, StreamFacts, ViewSpec
from hermes_stream.policies.newest import NewestApart
from hermes_stream.policies.recall import Asked
from hermes_stream.types import Turn


class Recent(NewestApart):
    """Keep the newest frames whole, whatever the store would do; it sees and budgets what is older.

    Needs: a store of rows. Budget: rows of each layer, those of the newest frames included.
    frames: how many, as the memory numbers them: Qwen makes one of two.

    To the store a frame arrives when it leaves the newest ones. Its prompts are run over the whole memory, and it sees
    their attention to older rows. What it recalls for a question is seen beside the newest frames.
    """

    name: ClassVar[str] = "recent"

    def probes(self, n_rows: Sequence[int], history: Sequence[Turn], stream: StreamFacts) -> tuple[Probe, ...]:
        # How many of the rows are new is not known here, but a store's trigger compares rows with the budget, and both
        # are less by the same.
        reserved = self._reserved(stream.tokens_per_frame)
        return self._inside(reserved).probes([max(n - reserved, 0) for n in n_rows], history, stream)

    def seen_rows(self, stream: StreamFacts) -> int | None:
        reserved = self._reserved(stream.tokens_per_frame)
        seen = self._inside(reserved).seen_rows(stream)
        return None if seen is None else seen + reserved

    def after_chunk(self, view: MemoryView, state: Any) -> tuple[Plan, Any]:
        inside, older, partings = self._divide(view)
        plan, state = inside.after_chunk(older, state)
        return with_newest(plan, partings), state

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:
        inside, older, _ = self._divide(view)
        return inside.view_for(older, state, asked)

    def recall(self, layer: int, asked: Asked, state: Any) -> Recalled:
        parting = self._parting(asked)
        recalled = self._beside(parting).recall(layer, _older_asked(asked, parting), state)
        return _with_newest(recalled, asked, parting)

    def settle(self, asked: Sequence[Asked], recalled: Sequence[Recalled], state: Any) -> Sequence[Recalled]:
        partings = [self._parting(one) for one in asked]
        older = [_older_asked(one, parting) for one, parting in zip(asked, partings, strict=True)]
        inside = [_without_newest(one, parting) for one, parting in zip(recalled, partings, strict=True)]
        settled = self._beside(partings[0]).settle(older, inside, state)
        return [_with_newest(*three) for three in zip(settled, asked, partings, strict=True)]

    def _divide(self, view: MemoryView) -> tuple[Policy, MemoryView, tuple[Parting, ...]]:
        """The store with its part of the budget, what it sees, and how the rows were parted."""
        first_frame = max(view.frames_seen - self.frames, 0)
        partings = part_layers(view, first_frame)
        return self._beside(partings[0]), older_view(view, partings, first_frame), partings

    def _beside(self, parting: Parting) -> Policy:
        return self._inside(parting.newest.shape[-1])

    def _parting(self, asked: Asked) -> Parting:
        frame_HN = asked.held.table.frame_HN
        newest = int(frame_HN.max()) if frame_HN.numel() else 0  # is held, as it is protected
        return part_layer(asked.held, newest + 1 - self.frames)


def _older_asked(asked: Asked, parting: Parting) -> Asked:
    return replace(asked, held=asked.held.select(parting.older))


def _with_newest(recalled: Recalled, asked: Asked, parting: Parting) -> Recalled:
    """The newest frames are seen besides what the store recalls."""
    if recalled.held_rows is None and asked.sees_held:
        return recalled
    chosen = parting.older[:0] if recalled.held_rows is None else parting.older[recalled.held_rows]
    newest = parting.newest
    if recalled.archive_rows is not None and asked.archive.n_rows:
        # Where newer frames were forgotten, the newest that are held may be the store's already: none is seen twice.
        archived_N = asked.archive.table.identity_HN[0, recalled.archive_rows]
        newest = newest[~torch.isin(asked.held.table.identity_HN[0, newest], archived_N)]
    return replace(recalled, held_rows=torch.cat((chosen, newest)).sort().values)


def _without_newest(recalled: Recalled, parting: Parting) -> Recalled:
    """What the store said: its rows, in its numbers."""
    if recalled.held_rows is None:
        return recalled
    return replace(recalled, held_rows=torch.isin(parting.older, recalled.held_rows).nonzero()[:, 0])
