"""Three tiers of features, thinned by what standing questions would look at, and a gate for each question.

Source: SAVEMem, from its description and the constants of its released code.

Shape letters: N rows of the bank or of one frame, F frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field

from hermes_stream.memory.plan import Fold, Plan
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import StreamFacts, ViewSpec
from hermes_stream.policies.change import is_changed, patch_folds
from hermes_stream.policies.feature_rows import (
    FeaturePolicy,
    best_and_newest,
    cells,
    first_within,
    frame_distance,
    frames_between,
    rows_between,
    rows_by_frame,
    split_by_frame,
)
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.otsu import Edge
from hermes_stream.policies.relevance import (
    STANDING_QUESTIONS,
    best_cosines,
    frame_scores,
    moved,
    n_read,
    reads_history,
)

# The source's 4 and 16 frames where 2,048 tokens hold ten of 196.
_SHORT_SHARE, _MIDDLE_PER_SHORT = 0.4, 4
_MIDDLE_SHARE = 0.4
_SAME, _SAME_BY_SCORE = 0.8, 0.15
_CUT = 1.5
_LONG_SHARE, _LONG_SHARE_BY_SCORE, _LEAST_TOKENS = 0.15, 0.25, 4
_FEW_SHARE = 20 / 196
_NEVER = 2.0  # no cosine is above


@dataclass(frozen=True, slots=True, eq=False)
class SAVEMemState:
    """Where the tiers begin: frames from first_short on are whole, those from first_middle on are thinned once.

    distance_N: of the tokens of frame first_short to the frame before. change_sum, n_changes: mean distances of the
    frames that left the short tier to the next one. usual: running mean of what standing questions find in new frames.
    """

    first_middle: int = 0
    first_short: int = 0
    distance_N: torch.Tensor | None = None
    change_sum: float = 0.0
    n_changes: int = 0
    usual: float | None = None


class SAVEMem(FeaturePolicy):
    """Hold whole frames, what changed in older ones, and of the oldest what five standing questions would look at.

    Needs: features, and the embeddings of the questions. Budget: rows of the bank, merged tokens and words included.

    s of a token is its largest cosine with the questions' tokens. A frame that leaves the short tier keeps what changed
    (see fluxmem), where a token goes anyway if its cosine with the next frame is above 0.8 + 0.15 s, unless the frame's
    mean change is 1.5 times that of the frames before: a cut. A frame that leaves the middle tier keeps in each quarter
    of its grid the share 0.15 + 0.25 mean(s) of its tokens, by s, and four tokens at least; where it has few left (a
    tenth of a frame's) each connected patch becomes one. Over the budget the oldest tier loses what has the lowest s.

    A question reads the newest frames and, of all older ones, those that resemble it, fewer the more these differ.
    short, middle: frames in these tiers; by default two fifths of what the budget holds, and four times that.
    gate: read older frames only where the newest resemble the question less than `gate` times what is usual; None reads
    them always. The source's numbers were made with 0.1 for questions about now and 2.0 for those about the past, which
    gives away the regime; try 0.9.
    top, least: older frames that are read where they differ much, but never less than this share of them; the released
    code has 0.9, which leaves little to choose.
    otsu: see fluxmem.

    What the source does not say: frames move on when the bank is over its budget, not before; the middle tier takes at
    most two fifths of the budget. Unlike there, asking changes nothing: what is usual is the mean that the standing
    questions find in the newest frames, moved by a fifth at each interval's end, and for a question by its own score.
    """

    name: ClassVar[str] = "savemem"
    texts: ClassVar[tuple[str, ...]] = STANDING_QUESTIONS

    short: int | None = Field(default=None, ge=1)
    middle: int | None = Field(default=None, ge=0)
    gate: float | None = Field(default=None, gt=0)
    top: int = Field(default=10, ge=1)
    least: float = Field(default=0.9, ge=0, le=1)
    otsu: Edge = "upper"

    def start(self, stream: StreamFacts) -> SAVEMemState:
        super().start(stream)
        return SAVEMemState()

    def after_chunk(self, view: MemoryView, state: SAVEMemState) -> tuple[Plan, SAVEMemState]:
        bank, budget = view.features, self.budget_tokens or 0
        n_short, n_middle = self._tiers(view)
        state = replace(state, usual=_usual(view, state.usual, view.frames_seen - n_short))
        if bank.n_rows <= budget:
            return Plan.keep_all(), state
        score_N = best_cosines(bank.embeddings_NE, view.texts)
        stays_N = bank.kind_N != TokenKind.TEXT
        after = self._thin(bank, stays_N, score_N, state, n_short)
        middle = range(max(state.first_middle, after.first_short - n_middle), after.first_short)
        first_middle = first_within(bank, stays_N, middle, math.floor(_MIDDLE_SHARE * budget))
        folds = []
        for rows_N in frames_between(bank, stays_N, state.first_middle, first_middle):
            folds += self._move_to_long(bank, stays_N, score_N, rows_N, view.tokens_per_frame)
        plan = best_and_newest(bank, stays_N.nonzero()[:, 0], folds, score_N, first_middle, budget)
        return plan, replace(after, first_middle=first_middle)

    def view_for(self, view: MemoryView, state: SAVEMemState, asked: torch.Tensor | None) -> ViewSpec:
        """The newest frames, and those of the older ones that the question is to read."""
        bank, first_newest = view.features, view.frames_seen - self._tiers(view)[0]
        frame_N = bank.frame_N
        older = [] if asked is None else split_by_frame(bank, rows_between(bank, 0, first_newest))
        reads_N = torch.ones_like(frame_N, dtype=torch.bool)
        if asked is not None and older:
            if self._is_about_now(bank, first_newest, state, asked):
                reads_N = frame_N >= first_newest
            else:
                rows_N = torch.cat(older)
                score_F = frame_scores(bank.embeddings_NE[rows_N], [part_N.numel() for part_N in older], asked)
                n_frames = n_read(score_F, self.top, self.least)
                chosen_F = score_F.argsort(descending=True, stable=True)[:n_frames]
                frames_F = torch.stack([frame_N[part_N[0]] for part_N in older])
                reads_N = (frame_N >= first_newest) | torch.isin(frame_N, frames_F[chosen_F])
        return ViewSpec(sees_held=False, fresh_rows=reads_N.nonzero()[:, 0])

    def forget(self, state: SAVEMemState, forgetting: Forgetting, stream: StreamFacts) -> SAVEMemState:  # noqa: ARG002
        """Tiers stay; what is usual, and how much frames change, begins anew."""
        return SAVEMemState(state.first_middle, state.first_short)

    def _is_about_now(self, bank: FeatureView, first_newest: int, state: SAVEMemState, asked: torch.Tensor) -> bool:
        """Whether the newest frames are enough for this question."""
        newest = rows_by_frame(bank, first_newest)
        if self.gate is None or state.usual is None or not newest:
            return False
        return not reads_history(_score(bank, newest, asked), state.usual, self.gate)

    def _tiers(self, view: MemoryView) -> tuple[int, int]:
        """Frames in the short and in the middle tier."""
        fits = max((self.budget_tokens or 0) // max(view.tokens_per_frame, 1), 1)
        n_short = min(self.short or max(math.floor(_SHORT_SHARE * fits), 1), fits)
        return n_short, n_short * _MIDDLE_PER_SHORT if self.middle is None else self.middle

    def _thin(
        self, bank: FeatureView, stays_N: torch.Tensor, score_N: torch.Tensor, state: SAVEMemState, n_short: int
    ) -> SAVEMemState:
        """Frames leave the short tier: unmark what did not change. Returns the state but for its `first_middle`."""
        frames, distance_N = rows_by_frame(bank, state.first_short), state.distance_N
        change_sum, n_changes = state.change_sum, state.n_changes
        n_leaving = max(len(frames) - n_short, 0)
        for rows_N, next_N in pairwise(frames[: n_leaving + 1]):
            to_next_N = frame_distance(bank, rows_N, next_N)
            change = float(to_next_N.mean())
            is_cut = n_changes > 0 and change > _CUT * change_sum / n_changes
            same_N = torch.full_like(to_next_N, _NEVER) if is_cut else _SAME + _SAME_BY_SCORE * score_N[rows_N]
            stays_N[rows_N] = is_changed(to_next_N, distance_N, at=self.otsu, same=same_N)
            distance_N = frame_distance(bank, next_N, rows_N)
            change_sum, n_changes = change_sum + change, n_changes + 1
        return replace(
            state,
            first_short=int(bank.frame_N[frames[n_leaving][0]]) if frames else state.first_short,
            distance_N=distance_N,
            change_sum=change_sum,
            n_changes=n_changes,
        )

    def _move_to_long(
        self,
        bank: FeatureView,
        stays_N: torch.Tensor,
        score_N: torch.Tensor,
        rows_N: torch.Tensor,
        tokens_per_frame: int,
    ) -> list[Fold]:
        """A frame leaves the middle tier: unmark what goes or is folded; returns the folds."""
        if rows_N.numel() < _FEW_SHARE * tokens_per_frame:
            folds = patch_folds(bank.embeddings_NE, rows_N, cells(bank, rows_N), at=self.otsu)
            for fold in folds:
                stays_N[fold.rows_N] = False
            return folds
        whole_2 = cells(bank, (bank.kind_N != TokenKind.TEXT).nonzero()[:, 0]).amax(dim=0) + 1
        stays_N[rows_N] = best_of_quadrants(score_N[rows_N], cells(bank, rows_N), whole_2)
        return []


def best_of_quadrants(score_N: torch.Tensor, cell_N2: torch.Tensor, grid_2: torch.Tensor) -> torch.Tensor:
    """Which tokens of a frame the long tier keeps: a share of each quadrant, by score, at least four; bool `[N]`.

    cell_N2: row and column of each. grid_2: rows and columns of the whole frame. The share grows with the mean score.
    """
    share = min(max(_LONG_SHARE + _LONG_SHARE_BY_SCORE * float(score_N.mean()), 0.0), 1.0)
    is_far_N2 = (2 * cell_N2 >= grid_2).long()
    quadrant_N = 2 * is_far_N2[:, 0] + is_far_N2[:, 1]
    order_N = score_N.argsort(descending=True, stable=True)
    keeps_N = torch.zeros_like(score_N, dtype=torch.bool)
    for quadrant in range(4):
        ours_N = order_N[quadrant_N[order_N] == quadrant]
        keeps_N[ours_N[: math.ceil(share * ours_N.numel() - 1e-9)]] = True
    n_missing = max(min(_LEAST_TOKENS, score_N.numel()) - int(keeps_N.sum()), 0)
    keeps_N[order_N[~keeps_N[order_N]][:n_missing]] = True
    return keeps_N


def _score(bank: FeatureView, frames: list[torch.Tensor], text_TE: torch.Tensor) -> float:
    """How much some frames resemble a text, on average."""
    lengths = [rows_N.numel() for rows_N in frames]
    return float(frame_scores(bank.embeddings_NE[torch.cat(frames)], lengths, text_TE).mean())


def _usual(view: MemoryView, usual: float | None, first_newest: int) -> float | None:
    """The running mean, moved by what the standing questions find in the newest frames."""
    newest = rows_by_frame(view.features, first_newest)
    if not newest:
        return usual
    scores = [_score(view.features, newest, text_TE) for text_TE in view.texts]
    return moved(usual, sum(scores) / len(scores))
