"""A memory seen in part: the view of its older rows, and what a plan for these means for all.

Shape letters: K key/value heads, H heads with rows of their own (1 when all hold the same), N rows of a layer, n some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.view import LayerView, MemoryView


@dataclass(frozen=True, slots=True, eq=False)
class Parting:
    """The rows of one layer in two parts, each sorted, `[n]`; where heads hold different rows, by their number."""

    older: torch.Tensor
    newest: torch.Tensor


def part_layers(view: MemoryView, first_frame: int) -> tuple[Parting, ...]:
    """The rows of frames before `first_frame` (and summaries, which have none), and the rows of the frames from it on.

    All heads and layers must hold as many newest rows, as they do while nobody evicts one.
    """
    # Layers that hold the same tokens share a table's storage: one parting for all of them.
    known: dict[tuple[int, int], Parting] = {}
    partings = []
    for layer in view.layers:
        key = layer.table.data_CHN.data_ptr(), layer.n_rows
        if key not in known:
            known[key] = part_layer(layer, first_frame)
        partings.append(known[key])
    return tuple(partings)


def part_layer(layer: LayerView, first_frame: int) -> Parting:
    """One layer's share of `part_layers`."""
    is_newest_HN = layer.table.frame_HN >= first_frame
    if is_newest_HN.shape[0] == 1:
        older_N, newest_N = (mask_N.nonzero()[:, 0] for mask_N in (~is_newest_HN[0], is_newest_HN[0]))
        return Parting(older_N, newest_N)
    # The newest rows are the last ones; where a past is looked at, some heads may have lost a part of them.
    row_N = torch.arange(layer.n_rows, device=is_newest_HN.device)
    n_older = layer.n_rows - int(is_newest_HN.sum(dim=-1).min())
    return Parting(row_N[:n_older], row_N[n_older:])


def older_view(view: MemoryView, partings: Sequence[Parting], frames_seen: int) -> MemoryView:
    """What a policy sees that is to decide about older rows only, with the budget that the newest rows leave."""
    n_newest = max(parting.newest.shape[-1] for parting in partings)
    layers = tuple(layer.select(parting.older) for layer, parting in zip(view.layers, partings, strict=True))
    budget = None if view.budget_tokens is None else view.budget_tokens - n_newest
    return replace(view, layers=layers, budget_tokens=budget, frames_seen=frames_seen)


def with_newest(plan: Plan, partings: Sequence[Parting]) -> Plan:
    """The plan for older rows as one for all rows, of which the newest stay."""
    if not isinstance(plan.positions, Positions):
        raise PlanError("a plan with positions of its own cannot be joined with rows that it does not know")
    if plan.layers is None:
        return plan
    # One plan object for layers that share one, so that they go on sharing a table.
    joined: dict[tuple[int, int], LayerPlan] = {}
    for layer_plan, parting in zip(plan.layers, partings, strict=True):
        key = id(layer_plan), id(parting)
        joined[key] = joined.get(key) or _joined(layer_plan, parting)
    return replace(plan, layers=tuple(joined[id(a), id(b)] for a, b in zip(plan.layers, partings, strict=True)))


def _joined(plan: LayerPlan, parting: Parting) -> LayerPlan:
    kept, newest = _rows_of(plan.keep, parting.older), parting.newest
    newest = newest.expand(*kept.shape[:-1], -1)
    order = None if plan.order is None else _order_of(plan.order, torch.cat((kept, newest), dim=-1))
    return replace(
        plan,
        order=order,
        keep=torch.cat((kept, newest), dim=-1).sort(dim=-1).values,
        folds=tuple(_fold_of(fold, parting.older) for fold in plan.folds),
        prototypes=tuple(replace(made, rows_N=_rows_of(made.rows_N, parting.older)) for made in plan.prototypes),
        archive=None if plan.archive is None else _rows_of(plan.archive, parting.older),
        archive_means=tuple(_rows_of(rows_N, parting.older) for rows_N in plan.archive_means),
    )


def _order_of(order: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The order of a part's rows, which stand first in `rows`, as one of all rows in time order: the others follow."""
    place = rows.argsort().argsort()
    return torch.cat((place[: order.numel()][order], place[order.numel() :]))


def _fold_of(fold: Fold, rows_N: torch.Tensor) -> Fold:
    anchor = None if fold.anchor is None else int(rows_N[fold.anchor])
    return replace(fold, rows_N=_rows_of(fold.rows_N, rows_N), anchor=anchor)


def _rows_of(chosen: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Rows of a layer that are given as rows of a part of it."""
    if rows.dim() == 1:
        return rows[chosen]
    return rows.gather(1, chosen.expand(rows.shape[0], -1))
