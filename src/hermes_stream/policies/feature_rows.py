"""What policies that hold features have in common: every question sees all of them; words stay as long as their frame.

Shape letters: N rows of the bank (or some of them), M of another frame, T rows of text, E model width.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch

from hermes_stream.memory.plan import Fold, LayerPlan, Plan
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.view import FeatureView, MemoryView
from hermes_stream.policies.base import Policy, ViewSpec
from hermes_stream.policies.similarity import window_distance


class FeaturePolicy(Policy, ABC):
    """Base of policies whose whole memory is features, run through the text model anew for each question."""

    ingests: ClassVar[Literal["tokens", "features"]] = "features"

    def view_for(self, view: MemoryView, state: Any, asked: torch.Tensor | None) -> ViewSpec:  # noqa: ARG002
        """All that is held, also what came after the last interval's end."""
        rows_N = torch.arange(view.features.n_rows, device=view.features.frame_N.device)
        return ViewSpec(sees_held=False, fresh_rows=rows_N)


def rows_between(bank: FeatureView, first_frame: int, end_frame: int) -> torch.Tensor:
    """Rows that show something of the frames in `[first_frame, end_frame)`; int64 `[N]`."""
    is_vision_N = bank.kind_N != TokenKind.TEXT
    return (is_vision_N & (bank.frame_N >= first_frame) & (bank.frame_N < end_frame)).nonzero()[:, 0]


def rows_by_frame(bank: FeatureView, first_frame: int) -> list[torch.Tensor]:
    """The rows that show something of each frame from the given one on, oldest first."""
    is_vision_N = bank.kind_N != TokenKind.TEXT
    return split_by_frame(bank, (is_vision_N & (bank.frame_N >= first_frame)).nonzero()[:, 0])


def split_by_frame(bank: FeatureView, rows_N: torch.Tensor) -> list[torch.Tensor]:
    """Sorted rows, one part for each of their frames."""
    _, n_rows_F = bank.frame_N[rows_N].unique_consecutive(return_counts=True)
    return list(rows_N.split(n_rows_F.tolist()))


def frames_between(bank: FeatureView, stays_N: torch.Tensor, first: int, end: int) -> list[torch.Tensor]:
    """Of each frame in `[first, end)` the rows that stay; stays_N: bool, of each row of the bank."""
    frame_N = bank.frame_N
    return split_by_frame(bank, (stays_N & (frame_N >= first) & (frame_N < end)).nonzero()[:, 0])


def first_within(bank: FeatureView, stays_N: torch.Tensor, frames: range, room: int) -> int:
    """The first of these frames from which on all rows that stay, with their words, fit into the room."""
    frame_N = bank.frame_N
    newest_N = (stays_N & (frame_N >= frames.start) & (frame_N < frames.stop)).nonzero()[:, 0].flip(0)
    n_fit = n_that_fit(frame_N[newest_N], count_words(bank)[newest_N], room)
    return frames.start if n_fit == newest_N.numel() else int(frame_N[newest_N[n_fit]]) + 1


def frame_distance(bank: FeatureView, rows_N: torch.Tensor, other_N: torch.Tensor) -> torch.Tensor:
    """How far each row of one frame is from another frame: `similarity.window_distance`."""
    token_NE, other_ME = bank.embeddings_NE[rows_N], bank.embeddings_NE[other_N]
    return window_distance(token_NE, cells(bank, rows_N), other_ME, cells(bank, other_N))


def cells(bank: FeatureView, rows_N: torch.Tensor) -> torch.Tensor:
    """Row and column of the grid, int64 `[N, 2]`."""
    return torch.stack((bank.table.row_HN[0, rows_N], bank.table.column_HN[0, rows_N]), dim=1)


def count_words(bank: FeatureView) -> torch.Tensor:
    """For each row: how many rows of text its frame has; int64 `[N]`."""
    frame_N = bank.frame_N.contiguous()
    text_T = frame_N[bank.kind_N == TokenKind.TEXT]  # sorted, as the bank is
    return torch.searchsorted(text_T, frame_N, right=True) - torch.searchsorted(text_T, frame_N)


def total_rows(frame_N: torch.Tensor, n_words_N: torch.Tensor) -> int:
    """Rows that some tokens take together with the words of their frames."""
    return frame_N.numel() + int((n_words_N * _is_first(frame_N)).sum())


def n_that_fit(
    frame_N: torch.Tensor, n_words_N: torch.Tensor, room: int, paid_frames: torch.Tensor | None = None
) -> int:
    """How many of some tokens, best first, fit into the room together with the words of their frames.

    frame_N, n_words_N: of each token. paid_frames: frames whose words are counted elsewhere.
    """
    pays_N = _is_first(frame_N)
    if paid_frames is not None:
        pays_N &= ~torch.isin(frame_N, paid_frames)
    return int(((1 + n_words_N * pays_N).cumsum(0) <= room).sum())


def _is_first(frame_N: torch.Tensor) -> torch.Tensor:
    """Whether a row is the first of its frame in the given order; bool `[N]`."""
    order_N = frame_N.argsort(stable=True)
    sorted_N = frame_N[order_N]
    is_first_N = torch.ones_like(frame_N, dtype=torch.bool)
    is_first_N[order_N[1:]] = sorted_N[1:] != sorted_N[:-1]
    return is_first_N


def features_plan(bank: FeatureView, keep_N: torch.Tensor, folds: Sequence[Fold] = ()) -> Plan:
    """Keep some vision rows, in any order, and fold others; words stay where something of their frame does."""
    held_N = torch.cat((keep_N, keep_N.new_tensor([_anchor(fold) for fold in folds])))
    is_text_N = bank.kind_N == TokenKind.TEXT
    stays_N = is_text_N & torch.isin(bank.frame_N, bank.frame_N[held_N])
    rows_N = torch.cat((keep_N, stays_N.nonzero()[:, 0])).sort().values
    return Plan(features=LayerPlan(rows_N, tuple(folds)))


def newest_that_fit(bank: FeatureView, keep_N: torch.Tensor, folds: Sequence[Fold], budget: int) -> Plan:
    """Keep vision rows and folds, in any order; where they and their words are too many, the oldest go."""
    anchors_N = keep_N.new_tensor([_anchor(fold) for fold in folds])
    newest_N = torch.cat((keep_N, anchors_N)).sort(descending=True).values
    n_fit = n_that_fit(bank.frame_N[newest_N], count_words(bank)[newest_N], budget)
    first = int(newest_N[n_fit - 1]) if n_fit else bank.n_rows
    return features_plan(bank, keep_N[keep_N >= first], [fold for fold in folds if _anchor(fold) >= first])


def best_and_newest(
    bank: FeatureView,
    keep_N: torch.Tensor,
    folds: Sequence[Fold],
    score_N: torch.Tensor,
    first_newest: int,
    budget: int,
) -> Plan:
    """Keep vision rows and folds; where they and their words are too many, the lowest scores of older frames go.

    Frames from first_newest on lose nothing, or, if they alone are too many, their oldest tokens and all that is older.
    score_N: of each row of the bank; a fold has the mean of its rows'.
    """
    frame_N, words_N = bank.frame_N, count_words(bank)
    newest_N = keep_N[frame_N[keep_N] >= first_newest]
    room = budget - total_rows(frame_N[newest_N], words_N[newest_N])
    if room <= 0:
        return newest_that_fit(bank, newest_N, (), budget)
    older_N = keep_N[frame_N[keep_N] < first_newest]
    rows_N = torch.cat((older_N, keep_N.new_tensor([_anchor(fold) for fold in folds])))
    fold_scores = [score_N[fold.rows_N].mean()[None] for fold in folds]
    best_N = torch.cat((score_N[older_N], *fold_scores)).argsort(descending=True, stable=True)
    best_N = best_N[: n_that_fit(frame_N[rows_N[best_N]], words_N[rows_N[best_N]], room, frame_N[newest_N])]
    kept_N = older_N[best_N[best_N < older_N.numel()]]
    chosen = {index - older_N.numel() for index in best_N.tolist()}
    return features_plan(
        bank, torch.cat((kept_N, newest_N)), [fold for index, fold in enumerate(folds) if index in chosen]
    )


def _anchor(fold: Fold) -> int:
    """A fold of features has one."""
    assert fold.anchor is not None
    return fold.anchor
