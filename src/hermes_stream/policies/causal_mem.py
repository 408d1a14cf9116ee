"""CausalMem: the tokens that an online subspace explains worst, and one mean of what each frame loses.

Source: CausalMem, from the formulas of its paper and the constants of its released code.

Shape letters: N rows of the bank, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from hermes_stream.memory.plan import Fold, Plan
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import StreamFacts
from hermes_stream.policies.feature_rows import (
    FeaturePolicy,
    count_words,
    features_plan,
    n_that_fit,
    rows_by_frame,
    split_by_frame,
    total_rows,
)
from hermes_stream.policies.forgetting import Forgetting
from hermes_stream.policies.subspace import Subspace, first_subspace, learn, residual

_MOST_COLUMNS, _WIDTH_PER_COLUMN = 256, 14  # the source: 256 columns for a width of 3,584
_COLUMNS_PER_NEW = 32  # the source learns 8 tokens of a frame with 256 columns
_TO_COME, _TOKEN, _BACKGROUND, _DROPPED = range(4)  # what becomes of a row


@dataclass(frozen=True, slots=True, eq=False)
class CausalMemState:
    """basis: None before the first frame. n_frames: frames that it has learned from."""

    basis: Subspace | None = None
    n_frames: int = 0


class CausalMem(FeaturePolicy):
    """Hold the tokens that an online subspace explains worst, and one mean token of what each frame has lost.

    Needs: features. Budget: rows of the bank, means and words included.

    A basis U learns from each frame the directions of the tokens that it explains least, and forgets those that are
    used least. When the bank is over its budget, the tokens with the largest residual norm under U stay; what a frame
    loses is merged into its background, a count-weighted mean that stands last in its frame.

    columns: of the basis; by default one for 14 of the model's width, at most 256: the source's 256 of 3,584. A frame
    adds one direction for 32 columns, at least one: the source's 8 of 256.
    order: "score-first" scores with the basis as it was before the newest frame; "released" learns from the frame
    first, so that its most novel tokens are explained best, and leave.
    background: the share of the budget kept free for backgrounds, whose newest stay; they also take what the words of
    Qwen3-VL's frames leave over. The source holds 12,000 rows and never more than 1,024 frames, and keeps at least 100
    tokens beside its backgrounds, over the budget where need be: an endless stream needs a bound.

    The rule is per frame: how frames come in intervals changes nothing. Below the budget only the basis learns.
    """

    name: ClassVar[str] = "causalmem"
    is_per_frame: ClassVar[bool] = True

    columns: int | None = Field(default=None, ge=1)
    order: Literal["score-first", "released"] = "score-first"
    background: float = Field(default=0.1, ge=0, le=0.5)

    def start(self, stream: StreamFacts) -> CausalMemState:
        super().start(stream)
        return CausalMemState()

    def after_chunk(self, view: MemoryView, state: CausalMemState) -> tuple[Plan, CausalMemState]:
        bank = view.features
        rows = _Rows.of(bank, state.n_frames)
        basis = state.basis
        for frame_rows_N in rows_by_frame(bank, state.n_frames):
            before, basis = basis, self._learn(basis, bank.embeddings_NE[frame_rows_N])
            rows.fate_N[frame_rows_N] = _TOKEN
            if rows.n_held > (self.budget_tokens or 0):
                self._cut(rows, basis if self.order == "released" or before is None else before)
        return rows.plan(), CausalMemState(basis, view.frames_seen)

    def forget(self, state: CausalMemState, forgetting: Forgetting, stream: StreamFacts) -> CausalMemState:  # noqa: ARG002
        """A basis that has learned from what is left, frame by frame."""
        if not forgetting.has_any_of(range(state.n_frames)):
            return state
        bank, basis = forgetting.view.features, None
        for rows_N in rows_by_frame(bank, 0):
            if int(bank.frame_N[rows_N[0]]) < state.n_frames:
                basis = self._learn(basis, bank.embeddings_NE[rows_N])
        return CausalMemState(basis, state.n_frames)

    def _learn(self, basis: Subspace | None, token_NE: torch.Tensor) -> Subspace:
        width = token_NE.shape[1]
        n_columns = self.columns or max(min(_MOST_COLUMNS, width // _WIDTH_PER_COLUMN), 1)
        n_columns = min(n_columns, width)
        if basis is None:
            return first_subspace(token_NE, n_columns)
        return learn(basis, token_NE, max(n_columns // _COLUMNS_PER_NEW, 1))

    def _cut(self, rows: _Rows, basis: Subspace) -> None:
        """The best tokens that fit beside the room for backgrounds; then the newest backgrounds that fit."""
        budget, frame_N = self.budget_tokens or 0, rows.bank.frame_N
        token_N = (rows.fate_N == _TOKEN).nonzero()[:, 0]
        n_frames = frame_N[rows.is_held_N].unique().numel()
        room = budget - min(int(self.background * budget), n_frames)
        novelty_N = residual(basis, rows.bank.embeddings_NE[token_N]).norm(dim=1)
        # Of equal ones the newer first.
        best_N = token_N.flip(0)[novelty_N.flip(0).argsort(descending=True, stable=True)]
        n_best = n_that_fit(frame_N[best_N], rows.n_words_N[best_N], room)
        best_N, lost_N = best_N[:n_best], best_N[n_best:]
        rows.fate_N[lost_N] = _BACKGROUND
        room = budget - total_rows(frame_N[best_N], rows.n_words_N[best_N])
        is_background_N = rows.fate_N == _BACKGROUND
        background_N = rows.last_of_each_frame(is_background_N).flip(0)
        frame_F = frame_N[background_N]
        n_newest = n_that_fit(frame_F, rows.n_words_N[background_N], room, frame_N[best_N])
        rows.fate_N[is_background_N & torch.isin(frame_N, frame_F[n_newest:])] = _DROPPED


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What becomes of each row of the bank while frames come; fate_N is written to."""

    bank: FeatureView
    n_words_N: torch.Tensor
    fate_N: torch.Tensor

    @staticmethod
    def of(bank: FeatureView, n_frames: int) -> _Rows:
        kind_N, is_new_N = bank.kind_N, bank.frame_N >= n_frames
        fate_N = torch.where(kind_N == TokenKind.SUMMARY, _BACKGROUND, _TOKEN)
        # Words have no fate of their own: they stay with their frame.
        fate_N = fate_N.masked_fill(is_new_N | (kind_N == TokenKind.TEXT), _TO_COME)
        return _Rows(bank, count_words(bank), fate_N)

    @property
    def is_held_N(self) -> torch.Tensor:
        return (self.fate_N == _TOKEN) | (self.fate_N == _BACKGROUND)

    @property
    def n_held(self) -> int:
        """Rows after a plan made now: tokens, one background of each frame that has one, words."""
        background_N = self.last_of_each_frame(self.fate_N == _BACKGROUND)
        rows_N = torch.cat(((self.fate_N == _TOKEN).nonzero()[:, 0], background_N))
        return total_rows(self.bank.frame_N[rows_N], self.n_words_N[rows_N])

    def last_of_each_frame(self, mask_N: torch.Tensor) -> torch.Tensor:
        """The last of the marked rows in each frame, oldest frame first."""
        last = [rows_N[-1:] for rows_N in split_by_frame(self.bank, mask_N.nonzero()[:, 0])]
        return torch.cat([mask_N.nonzero()[:0, 0], *last])

    def plan(self) -> Plan:
        """Tokens are kept, backgrounds folded unless they are one already."""
        is_background_N = self.fate_N == _BACKGROUND
        if bool((self.fate_N != _DROPPED).all()) and not bool((is_background_N & self._is_single_N).any()):
            return Plan.keep_all()
        frame_N, held_N = self.bank.frame_N, self.is_held_N.nonzero()[:, 0]
        last_by_frame = dict(zip(frame_N[held_N].tolist(), held_N.tolist(), strict=True))
        keep, folds = [(self.fate_N == _TOKEN).nonzero()[:, 0]], []
        for rows_N in split_by_frame(self.bank, is_background_N.nonzero()[:, 0]):
            if rows_N.numel() == 1 and not bool(self._is_single_N[rows_N]):
                keep.append(rows_N)
            else:
                folds.append(Fold(rows_N, weight="count", anchor=last_by_frame[int(frame_N[rows_N[0]])]))
        return features_plan(self.bank, torch.cat(keep), folds)

    @property
    def _is_single_N(self) -> torch.Tensor:
        return self.bank.kind_N == TokenKind.VISION
