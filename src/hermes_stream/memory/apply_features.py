"""A plan's rows and folds of a feature bank, executed. Pure: the old bank stays as it is.

Shape letters: N rows of the bank, n rows kept, F folds, M rows folded, E model width.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.checks import require
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.plan import Fold, LayerPlan
from hermes_stream.memory.token_table import TokenKind, TokenTable


def apply_features(bank: FeatureBank, plan: LayerPlan, first_identity: int) -> FeatureBank:
    """The kept rows and one token per fold, each behind the kept rows up to its anchor.

    Raises PlanError for what a bank cannot do: see `check_features`.
    """
    check_features(bank, plan)
    kept = bank.select(plan.keep)
    order_N = plan.keep
    if plan.folds:
        anchor_F = torch.tensor([fold.anchor for fold in plan.folds], device=plan.keep.device)
        kept = _concat(kept, _merged(bank, plan.folds, anchor_F, first_identity))
        order_N = torch.cat((plan.keep, anchor_F))
        kept = kept.select(order_N.argsort(stable=True))
    n_dropped = bank.table.count_HN.sum() - kept.table.count_HN.sum()
    return replace(kept, n_dropped=bank.n_dropped + n_dropped)


def check_features(bank: FeatureBank, plan: LayerPlan) -> None:
    """Raise PlanError for prototypes, folds without an anchor, and text in a fold: it announces a frame."""
    if plan.prototypes:
        raise PlanError("features: a prototype is made of keys and values, which features do not have; fold rows")
    if any(fold.anchor is None for fold in plan.folds):
        raise PlanError("features: a fold without an anchor; name the row whose frame, cell and time it takes")
    if plan.folds:
        rows_M = torch.cat([fold.rows_N for fold in plan.folds])
        is_text_M = bank.table.kind_HN[0, rows_M] == TokenKind.TEXT
        require(~is_text_M.any(), "features: text is in a fold; keep or drop it")


def _merged(bank: FeatureBank, folds: tuple[Fold, ...], anchor_F: torch.Tensor, first_identity: int) -> FeatureBank:
    """One summary per fold: mean embedding and taps, summed count, the rest from its anchor."""
    device = bank.table.data_CHN.device
    length_F = torch.tensor([fold.rows_N.numel() for fold in folds], device=device)
    rows_M = torch.cat([fold.rows_N for fold in folds])
    count_M = bank.table.count_HN[0, rows_M]
    weight_M = torch.cat(
        [fold.shares(part) for fold, part in zip(folds, count_M.split(length_F.tolist()), strict=True)]
    )

    def mean(x_NE: torch.Tensor) -> torch.Tensor:
        exact = torch.promote_types(x_NE.dtype, torch.float32)
        weighted_ME = x_NE.index_select(0, rows_M).to(exact) * weight_M.to(exact)[:, None]
        return torch.segment_reduce(weighted_ME, "sum", lengths=length_F, axis=0).to(x_NE.dtype)

    anchors, (first_M, last_M) = bank.table.select(anchor_F), bank.table.span_2HN[:, 0, rows_M]
    span_2F = torch.stack(
        (
            torch.segment_reduce(first_M, "min", lengths=length_F, axis=0),
            torch.segment_reduce(last_M, "max", lengths=length_F, axis=0),
        )
    )
    table = TokenTable.build(
        kind=TokenKind.SUMMARY,
        identity_N=first_identity + torch.arange(len(folds), device=device),
        position_RN=anchors.position_RHN[:, 0],
        frame_N=anchors.frame_HN[0],
        row_N=anchors.row_HN[0],
        column_N=anchors.column_HN[0],
        seconds_N=anchors.seconds_HN[0],
        span_2N=span_2F,
        count_N=torch.segment_reduce(count_M.double(), "sum", lengths=length_F, axis=0).long(),
    )
    return replace(
        bank, embeddings_NE=mean(bank.embeddings_NE), table=table, taps=tuple(mean(tap_NE) for tap_NE in bank.taps)
    )


def _concat(kept: FeatureBank, merged: FeatureBank) -> FeatureBank:
    return replace(
        kept,
        embeddings_NE=torch.cat((kept.embeddings_NE, merged.embeddings_NE)),
        table=kept.table.concat(merged.table),
        taps=tuple(torch.cat(pair) for pair in zip(kept.taps, merged.taps, strict=True)),
    )
