"""Events: frames cut where they change, merged where they are old, alike and seldom merged.

Source: the rule of StreamForest, from its paper, without the training that its published numbers come from.

Shape letters: N rows of the bank, E model width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import Plan
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.feature_rows import FeaturePolicy, count_words, newest_that_fit, rows_between, rows_by_frame
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.similarity import cosines
from hermes_stream.policies.token_merging import Tokens, halve

_UNLIKENESS, _MERGES, _YOUTH = 0.4, 0.4, 0.2  # StreamForest's weights
_COMPARED = 4  # frames of which the similarities of neighbours are remembered
_WINDOW = 4  # of as many frames as the budget holds, one stays unmerged


@dataclass(frozen=True, slots=True)
class Event:
    """Neighbouring frames in one node; n_merges counts the merges that it came out of."""

    first_frame: int
    last_frame: int
    first_seconds: float
    last_seconds: float
    n_merges: int = 0

    @property
    def seconds(self) -> float:
        """The middle of it."""
        return (self.first_seconds + self.last_seconds) / 2

    def join(self, newer: Event, n_merges: int) -> Event:
        return Event(self.first_frame, newer.last_frame, self.first_seconds, newer.last_seconds, n_merges)


@dataclass(frozen=True, slots=True, eq=False)
class ForestState:
    """What is known of the stream.

    events: of the frames that left the window, oldest first. starts: frames in the window that begin an event.
    mean_E: of the newest frame. similarities: the newest two of adjacent frames. n_frames: frames looked at.
    """

    events: tuple[Event, ...] = ()
    starts: tuple[int, ...] = ()
    mean_E: torch.Tensor | None = None
    similarities: tuple[float, ...] = ()
    n_frames: int = 0

    def see(self, frame: int, mean_E: torch.Tensor) -> ForestState:
        """The frame before a new one begins an event if it resembles its past less than either of its neighbours."""
        starts, similarities = self.starts, self.similarities
        if self.mean_E is not None:
            similarities = (*similarities[-2:], float(cosines(mean_E[None], self.mean_E[None])))
            if len(similarities) == 3 and similarities[0] > similarities[1] < similarities[2]:
                starts = (*starts, self.n_frames - 1)
        return replace(self, starts=starts, mean_E=mean_E, similarities=similarities, n_frames=frame + 1)

    def let_go(self, frame: int, seconds: float) -> ForestState:
        """A frame leaves the window: it begins an event or lengthens the last one."""
        leaving = Event(frame, frame, seconds, seconds)
        if not self.events or frame in self.starts:
            starts = tuple(start for start in self.starts if start > frame)
            return replace(self, events=(*self.events, leaving), starts=starts)
        last = self.events[-1]
        return replace(self, events=(*self.events[:-1], last.join(leaving, last.n_merges)))


class EventForest(FeaturePolicy):
    """Hold whole recent frames, and events before them that merge where they are old, alike and seldom merged.

    Needs: features. Budget: rows of the bank, merged tokens and words included.

    An event begins at a frame whose mean embedding resembles the frame before it less than the neighbouring pairs of
    frames resemble each other. While the bank is over its budget, the neighbouring events with the least penalty,
    0.4 (1 - s) + 0.4 c / (2 c_max) + 0.2 (1 - a), become one and their tokens are halved by bipartite matching: s is
    the mean cosine of the most similar pairs of tokens, c the merges of both, c_max the most that any event has, a
    their mean age by that of the oldest event. Ties go to the older pair.

    recent: newest frames that stay whole and unmerged; by default a quarter of the frames that the budget holds.
    pairs: of tokens, of which s is the mean; the source leaves their number open.

    What the source does not say: an event is as old as its middle; a merged token stands at the one of its parts
    nearest to their mean time; an event that is alone is halved by itself; and where even that does not help, the
    oldest tokens go. Halving takes rounds, each of which merges the best half of the matches.
    """

    name: ClassVar[str] = "event-forest"

    recent: int | None = Field(default=None, ge=1)
    pairs: int = Field(default=10, ge=1)

    def start(self, stream: StreamFacts) -> ForestState:
        super().start(stream)
        return ForestState()

    def after_chunk(self, view: MemoryView, state: ForestState) -> tuple[Plan, ForestState]:
        state = self._look(view, state)
        if view.features.n_rows <= (self.budget_tokens or 0):
            return Plan.keep_all(), state
        forest = _Forest(view.features, state.events, self.pairs)
        while forest.n_rows > (self.budget_tokens or 0) and forest.merge():
            pass
        plan = forest.plan(self.budget_tokens or 0)
        return plan, replace(state, events=tuple(forest.events))

    def forget(self, state: ForestState, forgetting: Forgetting, stream: StreamFacts) -> ForestState:  # noqa: ARG002
        """How the newest frames resembled each other is forgotten with any of them; events without frames go later."""
        if not forgetting.has_any_of(range(max(state.n_frames - _COMPARED, 0), state.n_frames)):
            return state
        return replace(state, mean_E=None, similarities=())

    def _look(self, view: MemoryView, state: ForestState) -> ForestState:
        """Take in new frames, and let those go that leave the window."""
        bank = view.features
        first_in_window = state.events[-1].last_frame + 1 if state.events else 0
        for rows_N in rows_by_frame(bank, state.n_frames):
            state = state.see(int(bank.frame_N[rows_N[0]]), bank.embeddings_NE[rows_N].float().mean(dim=0))
        for rows_N in rows_by_frame(bank, first_in_window)[: -self._window(view)]:
            state = state.let_go(int(bank.frame_N[rows_N[0]]), float(bank.seconds_N[rows_N[0]]))
        return state

    def _window(self, view: MemoryView) -> int:
        fits = max((self.budget_tokens or 0) // max(view.tokens_per_frame, 1), 1)
        return min(self.recent or max(fits // _WINDOW, 1), fits)


def penalty(likeness: float, n_merges: int, most_merges: int, relative_age: float) -> float:
    """What merging two neighbouring events costs; the least is merged.

    likeness: s. n_merges: of both together. most_merges: of any event. relative_age: a, 1 for the oldest.
    """
    merged = n_merges / (2 * most_merges) if most_merges else 0.0
    return _UNLIKENESS * (1 - likeness) + _MERGES * merged + _YOUTH * (1 - relative_age)


def likeness(tokens_NE: torch.Tensor, other_ME: torch.Tensor, n_pairs: int) -> float:
    """s: the mean cosine of the most similar pairs of tokens, one of each event."""
    cosine_NM = cosines(tokens_NE, other_ME).flatten()
    return float(cosine_NM.topk(min(n_pairs, cosine_NM.numel())).values.mean())


class _Forest:
    """Events and their tokens while they merge; one merge at a time."""

    def __init__(self, bank: FeatureView, events: tuple[Event, ...], n_pairs: int) -> None:
        """Events that have lost all their tokens are forgotten; frames after the last one are never merged."""
        parts = [(event, rows_between(bank, event.first_frame, event.last_frame + 1)) for event in events]
        self.events = [event for event, rows_N in parts if rows_N.numel()]
        self._nodes = [Tokens.of_rows(bank, rows_N) for _, rows_N in parts if rows_N.numel()]
        first_in_window = events[-1].last_frame + 1 if events else 0
        self._window: list[int] = [row for rows_N in rows_by_frame(bank, first_in_window) for row in rows_N.tolist()]
        self._bank, self._n_pairs = bank, n_pairs
        self._frames: list[int] = bank.frame_N.tolist()
        self._n_words: list[int] = count_words(bank).tolist()
        self._newest = float(bank.seconds_N[-1])
        self._likeness = [self._likeness_at(index) for index in range(len(self.events) - 1)]

    @property
    def n_rows(self) -> int:
        """Rows after a plan made now, words included."""
        anchors = [anchor for node in self._nodes for anchor in node.anchors] + self._window
        n_words = {self._frames[anchor]: self._n_words[anchor] for anchor in anchors}
        return len(anchors) + sum(n_words.values())

    def merge(self) -> bool:
        """Merge the two events with the least penalty, or halve a lone one; False if nothing is left to merge."""
        if len(self._nodes) < 2:
            return self._halve_the_only_one()
        costs = [self._penalty_at(index) for index in range(len(self.events) - 1)]
        first = costs.index(min(costs))
        older, newer = self.events[first : first + 2]
        self.events[first : first + 2] = [older.join(newer, older.n_merges + newer.n_merges + 1)]
        self._nodes[first : first + 2] = [halve(self._nodes[first].join(self._nodes[first + 1]))]
        del self._likeness[first]
        for index in (first - 1, first):
            if 0 <= index < len(self._likeness):
                self._likeness[index] = self._likeness_at(index)
        return True

    def _halve_the_only_one(self) -> bool:
        if not self._nodes or len(self._nodes[0]) < 2:
            return False
        self.events[0] = replace(self.events[0], n_merges=self.events[0].n_merges + 1)
        self._nodes[0] = halve(self._nodes[0])
        return True

    def _penalty_at(self, index: int) -> float:
        older, newer = self.events[index : index + 2]
        oldest_age = self._newest - self.events[0].seconds
        age = self._newest - (older.seconds + newer.seconds) / 2
        most_merges = max(event.n_merges for event in self.events)
        relative_age = age / oldest_age if oldest_age > 0 else 1.0
        return penalty(self._likeness[index], older.n_merges + newer.n_merges, most_merges, relative_age)

    def _likeness_at(self, index: int) -> float:
        return likeness(self._nodes[index].embeddings_NE, self._nodes[index + 1].embeddings_NE, self._n_pairs)

    def plan(self, budget: int) -> Plan:
        """All tokens that fit, the newest first."""
        keep, folds = list(self._window), []
        for node in self._nodes:
            kept, folded = node.folds()
            keep += kept
            folds += folded
        return newest_that_fit(self._bank, self._bank.frame_N.new_tensor(keep), folds, budget)
