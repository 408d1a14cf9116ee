"""What a policy wants done to a memory. Plans are values; `KVMemory.apply` executes them.

Shape letters: N rows, K key/value heads, R position axes.
Rows count from the first token after the prefix: the prefix is always kept and never named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.checks import require


class Positions(StrEnum):
    """`KEEP` leaves gaps where tokens went; `COMPACT` closes them; `RANKS` is HERMES' released way of closing them.

    They differ where positions have three axes: `COMPACT` moves time alone, for all layers alike, and keeps grids and
    distances in time; `CONTIGUOUS` keeps grids and closes the distance wherever rows between were evicted, layer by
    layer; `RANKS` numbers the distinct values of each axis and layer.
    """

    KEEP = "keep"
    COMPACT = "compact"
    CONTIGUOUS = "contiguous"
    RANKS = "ranks"


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Rows that become one summary token.

    Its value and un-rotated key (of features: its embedding) are the means over the rows (weighted by the rows' counts
    if `weight` is "count"), its count is the sum of theirs. place: "end" is right after the last kept row; "mean" is
    the mean position of the rows, weighted alike and rounded on each axis, and the row moves there among the kept ones.
    anchor: a row, of these or not, whose position, frame, cell and time the summary takes instead; features need one.
    """

    rows_N: torch.Tensor
    weight: Literal["equal", "count"] = "equal"
    place: Literal["end", "mean"] = "end"
    anchor: int | None = None

    def shares(self, count_N: torch.Tensor) -> torch.Tensor:
        """What each row weighs, float64; they add up to 1. A prototype counts 0 and weighs as one token."""
        return shares(count_N.clamp(min=1) if self.weight == "count" else torch.ones_like(count_N))


@dataclass(frozen=True, slots=True, eq=False)
class Prototype:
    """One more row, made of rows that it takes nothing from: each of them is kept, folded or dropped as if it were not.

    Its value and un-rotated key are the means over the rows by `weight_N` (floating, at least 0, not all 0; they need
    not add up to 1). It stands among the kept rows at the rows' mean position, rounded half up on each axis, belongs to
    the frame of the newest of them, and counts 0: what its rows stand for is counted where they go.
    """

    rows_N: torch.Tensor
    weight_N: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LayerPlan:
    """keep: int64, sorted, unique; `[n]`, or `[K, n]` when heads keep different tokens. Folds share no row with it.

    archive: rows `[n]` that are copied into the layer's archive, whether they are kept or not; sorted, unique.
    archive_means: rows `[n]` each, sorted, whose mean frame (`memory/mean_frame.py`) is archived behind these.
    keep_archive: rows of the archive, as it was before, that stay in it, likewise; None is all.
    order: how the kept rows stand from now on, a permutation of their numbers in `keep`; None leaves them as they are.
        Without folds and prototypes, and with the same rows in all heads.
    """

    keep: torch.Tensor
    folds: tuple[Fold, ...] = ()
    prototypes: tuple[Prototype, ...] = ()
    archive: torch.Tensor | None = None
    archive_means: tuple[torch.Tensor, ...] = ()
    keep_archive: torch.Tensor | None = None
    order: torch.Tensor | None = None

    @property
    def rows(self) -> torch.Tensor:
        """The kept rows in the order in which they will stand."""
        return self.keep if self.order is None else self.keep[self.order]

    @property
    def n_rows(self) -> int:
        """Rows that the layer holds after the plan."""
        return self.keep.shape[-1] + len(self.folds) + len(self.prototypes)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One `LayerPlan` per layer, or none at all to keep every row.

    positions: what happens to the positions of the rows that stay; or explicit positions `[R, n]` per layer for the
    kept rows, folds and prototypes together.
    features: the same for the rows of the feature bank; None keeps all. They have no prototypes.
    """

    layers: tuple[LayerPlan, ...] | None = None
    positions: Positions | tuple[torch.Tensor, ...] = Positions.KEEP
    features: LayerPlan | None = None

    @staticmethod
    def keep_all() -> Plan:
        """The identity: nothing is dropped, nothing moves."""
        return Plan()

    @staticmethod
    def same_rows(keep_N: torch.Tensor, n_layers: int, positions: Positions = Positions.KEEP) -> Plan:
        """The same rows in every layer."""
        return Plan((LayerPlan(keep_N),) * n_layers, positions)

    @property
    def is_identity(self) -> bool:
        return self.layers is None and self.features is None and self.positions is Positions.KEEP

    def evicts(self, n_rows: Sequence[int]) -> bool:
        """Whether it takes rows or features from the memory; to copy them into an archive takes nothing.

        n_rows: rows held by each layer, prefix excluded.
        """
        if self.features is not None:
            return True
        return any(layer.keep.shape[-1] < n for layer, n in zip(self.layers or (), n_rows, strict=False))

    def validate(self, n_rows: Sequence[int], n_feature_rows: int = 0, n_archived: Sequence[int] | None = None) -> None:
        """Raise PlanError unless rows are sorted, unique and in range, and folds are apart from kept rows.

        n_rows: rows held by each layer, prefix excluded. n_feature_rows: rows of the feature bank. n_archived: rows in
        each layer's archive, none by default. What depends on the values of a tensor is checked as `checks.require`
        says: at once on a CPU, on the device itself elsewhere.
        """
        if self.features is not None:
            _validate_layer("features", self.features, n_feature_rows)
        if self.layers is None:
            return
        if len(self.layers) != len(n_rows):
            raise PlanError(f"the plan has {len(self.layers)} layers, the memory {len(n_rows)}")
        seen: set[tuple[int, int]] = set()
        for layer, (layer_plan, n) in enumerate(zip(self.layers, n_rows, strict=True)):
            if (id(layer_plan), n) in seen:
                continue
            seen.add((id(layer_plan), n))
            _validate_layer(f"layer {layer}", layer_plan, n)
        for layer, (layer_plan, n) in enumerate(zip(self.layers, n_archived or [0] * len(n_rows), strict=True)):
            if layer_plan.keep_archive is not None:
                _validate_flat_rows(f"layer {layer}: rows kept in the archive", layer_plan.keep_archive, n)


def shares(weight_N: torch.Tensor) -> torch.Tensor:
    """Weights that add up to 1, float64."""
    exact_N = weight_N.double()
    return exact_N / exact_N.sum()


def _validate_layer(where: str, plan: LayerPlan, n: int) -> None:
    _validate_rows(f"{where}: kept rows", plan.keep, n)
    for fold in plan.folds:
        _validate_rows(f"{where}: folded rows", fold.rows_N, n)
        if fold.rows_N.numel() == 0:
            raise PlanError(f"{where}: a fold of no rows")
        if fold.anchor is not None and not 0 <= fold.anchor < n:
            raise PlanError(f"{where}: a fold's anchor is row {fold.anchor}, expected one of 0 to {n - 1}")
    for prototype in plan.prototypes:
        _validate_prototype(where, prototype, n)
    if plan.archive is not None:
        _validate_flat_rows(f"{where}: archived rows", plan.archive, n)
    for rows_N in plan.archive_means:
        _validate_flat_rows(f"{where}: rows of an archived mean", rows_N, n)
    _validate_disjoint(where, plan)
    if plan.order is not None:
        _validate_order(where, plan, plan.order)


def _validate_rows(what: str, rows: torch.Tensor, n: int) -> None:
    if rows.dtype != torch.int64:
        raise PlanError(f"{what} are {rows.dtype}, expected int64")
    if rows.shape[-1] == 0:
        return
    require((rows[..., 1:] > rows[..., :-1]).all(), f"{what} are not sorted and unique")
    # They are sorted, so the ends tell for all.
    low, high = rows[..., 0].min(), rows[..., -1].max()
    require(
        (low >= 0) & (high < n),
        f"{what} are outside the layer's rows 0 to {n - 1}",
        lambda: f"{what} reach from {int(low)} to {int(high)}, but the layer has rows 0 to {n - 1}",
    )


def _validate_flat_rows(what: str, rows: torch.Tensor, n: int) -> None:
    if rows.dim() != 1:
        raise PlanError(f"{what} are {list(rows.shape)}; expected the same rows in all heads, [n]")
    _validate_rows(what, rows, n)


def _validate_prototype(where: str, prototype: Prototype, n: int) -> None:
    rows_N, weight_N = prototype.rows_N, prototype.weight_N
    _validate_rows(f"{where}: a prototype's rows", rows_N, n)
    if rows_N.numel() == 0:
        raise PlanError(f"{where}: a prototype of no rows")
    if weight_N.shape != rows_N.shape or not weight_N.is_floating_point():
        raise PlanError(
            f"{where}: a prototype's weights are {weight_N.dtype} {list(weight_N.shape)}, expected one floating "
            f"number for each of its {rows_N.numel()} rows"
        )
    require(
        (weight_N >= 0).all() & weight_N.isfinite().all() & (weight_N > 0).any(),
        f"{where}: a prototype's weights are negative, not finite, or all 0",
    )


def _validate_order(where: str, plan: LayerPlan, order: torch.Tensor) -> None:
    if plan.folds or plan.prototypes or plan.keep.dim() != 1:
        raise PlanError(f"{where}: an order needs the same kept rows in all heads, without folds and prototypes")
    if order.dtype != torch.int64 or order.shape != plan.keep.shape:
        raise PlanError(
            f"{where}: an order is {order.dtype} {list(order.shape)}, expected int64 {list(plan.keep.shape)}"
        )
    is_each_once = order.sort().values == torch.arange(order.numel(), device=order.device)
    require(is_each_once.all(), f"{where}: an order does not name each kept row once")


def _validate_disjoint(where: str, plan: LayerPlan) -> None:
    if not plan.folds and not plan.prototypes:
        return
    if plan.keep.dim() != 1:
        raise PlanError(f"{where}: folds and prototypes need the same kept rows in all heads")
    rows = torch.cat([plan.keep, *(fold.rows_N for fold in plan.folds)]).sort().values
    require((rows[1:] != rows[:-1]).all(), f"{where}: a row is both kept and folded, or folded twice")
