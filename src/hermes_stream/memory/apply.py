"""From one version of a memory to the next by a plan. Pure: the old version stays as it is.

Shape letters: K key/value heads, H heads with rows of their own (1 when all hold the same), N rows, P rows that are
means of others, D head dimension, R position axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch

from hermes_stream.memory.apply_archive import archives_after
from hermes_stream.memory.apply_features import apply_features
from hermes_stream.memory.archive_store import ArchiveStore
from hermes_stream.memory.means import weighted_means
from hermes_stream.memory.once import once_per_object
from hermes_stream.memory.place import place
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions, Prototype, shares
from hermes_stream.memory.positions import end_of
from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.shape import MemoryShape
from hermes_stream.memory.slab import Slab
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.version import LayerMemory, MemoryVersion


def apply_plan(
    base: MemoryVersion,
    plan: Plan,
    shape: MemoryShape,
    rope: Rope,
    *,
    compaction: Positions = Positions.COMPACT,
    store: ArchiveStore | None = None,
) -> MemoryVersion:
    """Execute a plan that was validated. Where summaries would pass the model's limit, positions are compacted.

    store: where rows go that the plan archives. Raises LimitError if they do not fit there.
    """
    if plan.features is not None:
        features = apply_features(base.features, plan.features, base.next_identity)
        next_identity = base.next_identity + len(plan.features.folds)
        base = replace(base, features=features, next_identity=next_identity, number=base.number + 1)
    if plan.layers is None and plan.positions is Positions.KEEP:
        return base
    # One plan object for layers of one size, so that they go on sharing one table.
    whole = {n: LayerPlan(torch.arange(n, device=shape.device)) for n in set(base.held_tokens)}
    layer_plans = plan.layers or tuple(whole[n] for n in base.held_tokens)
    select_table = once_per_object(lambda table, p: table.select(with_prefix(p.rows, base.n_prefix)))
    layers = tuple(
        _apply_rows(layer, p, base, select_table(layer.table, p), rope)
        for layer, p in zip(base.layers, layer_plans, strict=True)
    )
    archives = archives_after(base, layer_plans, rope, store)
    layers = tuple(replace(layer, archive=archive) for layer, archive in zip(layers, archives, strict=True))
    # A summary at the end stands one past the last kept row of its layer, which only the device knows: the clock makes
    # room for the case that this row is the newest of all.
    n_ends = max(sum(fold.place == "end" and fold.anchor is None for fold in p.folds) for p in layer_plans)
    after = replace(
        base,
        layers=layers,
        next_position=base.next_position + n_ends,
        settled_at=base.next_position + n_ends,
        next_identity=base.next_identity + max(_n_made(p) for p in layer_plans),
        number=base.number + 1,
    )
    if plan.positions is Positions.KEEP and after.next_position <= shape.max_positions:
        return after
    return place(after, compaction if plan.positions is Positions.KEEP else plan.positions, rope)


def _apply_rows(layer: LayerMemory, plan: LayerPlan, base: MemoryVersion, table: TokenTable, rope: Rope) -> LayerMemory:
    slab = layer.slab.select(with_prefix(plan.rows, base.n_prefix), capacity=layer.slab.capacity)
    mean = _MeanRows(layer, rope)
    for index, fold in enumerate(plan.folds):
        rows_N = fold.rows_N + base.n_prefix
        weight_N, row = _summary(fold, layer.table.select(rows_N), table, base.next_identity + index)
        if fold.anchor is not None:
            row = _at_anchor(row, layer.table.select(rows_N.new_tensor([fold.anchor + base.n_prefix])))
        slab, table = mean.append([(rows_N, weight_N, row)], slab, table)
    if plan.prototypes:
        parts, first = [], base.next_identity + len(plan.folds)
        for index, prototype in enumerate(plan.prototypes):
            rows_N = prototype.rows_N + base.n_prefix
            parts.append((rows_N, *_prototype(prototype, layer.table.select(rows_N), first + index)))
        slab, table = mean.append(parts, slab, table)
    if plan.prototypes or any(fold.place == "mean" or fold.anchor is not None for fold in plan.folds):
        order_N = table.position_RHN[0, 0].argsort(stable=True)
        slab, table = slab.select(order_N, capacity=slab.capacity), table.select(order_N)
    n_dropped_H = layer.n_dropped_H + _count_dropped(layer.table.slice(base.n_prefix), plan)
    return replace(layer, slab=slab, table=table, n_dropped_H=n_dropped_H)


def _n_made(plan: LayerPlan) -> int:
    """Identities that a plan takes for rows of its own: a mean frame has as many as rows at most."""
    return len(plan.folds) + len(plan.prototypes) + sum(rows_N.numel() for rows_N in plan.archive_means)


def _count_dropped(rows: TokenTable, plan: LayerPlan) -> torch.Tensor:
    """Tokens that the rows which are neither kept nor folded stand for, int64 `[H]`."""
    keep_Hn = plan.keep if plan.keep.dim() == 2 else plan.keep[None]
    rows = rows.expand_heads(max(rows.n_heads, keep_Hn.shape[0]))
    is_dropped_HN = torch.ones_like(rows.count_HN, dtype=torch.bool)
    is_dropped_HN.scatter_(1, keep_Hn.expand(rows.n_heads, -1), False)
    for fold in plan.folds:
        is_dropped_HN.index_fill_(1, fold.rows_N, False)
    return (rows.count_HN * is_dropped_HN).sum(dim=-1)


class _MeanRows:
    """Rows that are means of a layer's rows: HERMES 3.8, mean value and mean un-rotated key, rotated once."""

    def __init__(self, layer: LayerMemory, rope: Rope) -> None:
        self._layer, self._rope = layer, rope

    @cached_property
    def _raw_KND(self) -> torch.Tensor:
        return self._layer.raw_keys(self._rope)

    @cached_property
    def _value_KND(self) -> torch.Tensor:
        return self._layer.values

    def append(
        self, parts: Sequence[tuple[torch.Tensor, torch.Tensor, TokenTable]], slab: Slab, table: TokenTable
    ) -> tuple[Slab, TokenTable]:
        """Behind the rows of slab and table; each part is the rows that one is made of, their weights, and its row."""
        new_rows = parts[0][2]
        for _, _, row in parts[1:]:
            new_rows = new_rows.concat(row)
        raw_KPD, value_KPD = self._means([(rows_N, weight_N) for rows_N, weight_N, _ in parts])
        rotated_KPD = rotate(raw_KPD, *self._rope.tables(new_rows.position_RHN[:, 0], raw_KPD.dtype))
        return slab.append(table.n_tokens, rotated_KPD, value_KPD, raw_KPD), table.concat(new_rows)

    def _means(self, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        slab = self._layer.slab
        if slab.keeps_raw and slab.keeps_rotated:
            return slab.mean_rows(parts)
        # What is stored otherwise is read once for all of them.
        return weighted_means(self._raw_KND, parts), weighted_means(self._value_KND, parts)


def _summary(fold: Fold, folded: TokenTable, kept: TokenTable, identity: int) -> tuple[torch.Tensor, TokenTable]:
    """Weights of the rows of a fold, and what the summary is.

    Summaries that one plan makes in different layers share an identity: they stand for the same moment, and smoothing
    over layers may pair them.
    """
    count_N = folded.count_HN[0]
    by_count_N = shares(count_N.clamp(min=1))
    weight_N = fold.shares(count_N)
    if fold.place == "mean":
        position_R1 = (folded.position_RHN[:, 0] * weight_N).sum(dim=-1, keepdim=True).round().long()
    else:
        position_R1 = end_of(kept).expand(folded.position_RHN.shape[0], 1)
    row = TokenTable.build(
        kind=TokenKind.SUMMARY,
        identity_N=torch.full_like(count_N[:1], identity),
        position_RN=position_R1,
        count_N=count_N.sum()[None],
        seconds_N=(folded.seconds_HN[0] * by_count_N).sum()[None],
        span_2N=folded.span_of_all(),
    )
    return weight_N, row


def _at_anchor(row: TokenTable, anchor: TokenTable) -> TokenTable:
    """A summary that stands where another row stood."""
    return TokenTable.build(
        kind=TokenKind.SUMMARY,
        identity_N=row.identity_HN[0],
        position_RN=anchor.position_RHN[:, 0],
        frame_N=anchor.frame_HN[0],
        row_N=anchor.row_HN[0],
        column_N=anchor.column_HN[0],
        seconds_N=anchor.seconds_HN[0],
        span_2N=row.span_2HN[:, 0],
        count_N=row.count_HN[0],
    )


def _prototype(prototype: Prototype, shown: TokenTable, identity: int) -> tuple[torch.Tensor, TokenTable]:
    """Normalised weights of the rows of a prototype, and what it is; it stands in the middle of what it shows."""
    frame_N, n = shown.frame_HN[0], shown.n_tokens
    # In integers: half a position must not hang on the rounding of a sum.
    middle_R1 = (2 * shown.position_RHN[:, 0].sum(dim=-1, keepdim=True) + n) // (2 * n)
    row = TokenTable.build(
        kind=TokenKind.SUMMARY,
        identity_N=torch.full_like(frame_N[:1], identity),
        position_RN=middle_R1,
        frame_N=frame_N[-1:],
        count_N=torch.zeros_like(frame_N[:1]),
        seconds_N=shown.seconds_HN[0].mean()[None],
        span_2N=shown.span_of_all(),
    )
    return shares(prototype.weight_N), row


def with_prefix(keep: torch.Tensor, n_prefix: int) -> torch.Tensor:
    """Row numbers that count from the first token: the prefix, then the kept rows; `[n]` or `[K, n]`."""
    prefix = torch.arange(n_prefix, device=keep.device).expand(*keep.shape[:-1], -1)
    return torch.cat((prefix, keep + n_prefix), dim=-1)
