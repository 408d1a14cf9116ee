"""What must hold of a version at any time, and of a plan before it is executed.

Shape letters: L layers, R position axes, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hermes_stream.errors import InvariantError, PlanError
from hermes_stream.memory.checks import require
from hermes_stream.memory.features import check_bank
from hermes_stream.memory.plan import LayerPlan, Plan, Positions
from hermes_stream.memory.positions import end_of
from hermes_stream.memory.token_table import TokenKind
from hermes_stream.memory.version import LayerMemory, MemoryVersion


def check_version(version: MemoryVersion) -> None:
    """Raise InvariantError if a law of the memory does not hold (architecture, laws 1 and 6)."""
    check_bank(version.features)
    for index, layer in enumerate(version.layers):
        _check_layer(version, index, layer)


def check_plan(plan: Plan, version: MemoryVersion, budgets_L: Sequence[int] | None, *, has_archive: bool) -> None:
    """Raise PlanError for a well-formed plan that this version cannot execute, or that leaves more than the budget."""
    for index, (layer, held) in enumerate(zip(plan.layers or (), version.layers, strict=False)):
        _check_heads(index, layer, held, version.shape.n_kv_heads)
        if layer.archive is not None or layer.keep_archive is not None or layer.archive_means:
            _check_archive(index, held, has_archive=has_archive)
    n_rows = version.held_tokens if plan.layers is None else tuple(layer.n_rows for layer in plan.layers)
    if not isinstance(plan.positions, Positions):
        _check_positions(plan.positions, n_rows, version)
    if budgets_L is not None:
        n_features = version.features.n_rows if plan.features is None else plan.features.n_rows
        _check_budget(n_rows, n_features, budgets_L)


def _check_layer(version: MemoryVersion, index: int, layer: LayerMemory) -> None:
    table = layer.table
    _require(layer.slab.n_used >= layer.n_held, index, "the slab has fewer rows than the table")
    stands_for_H = table.count_HN[:, version.n_prefix :].sum(dim=-1)
    _require(
        bool((stands_for_H + layer.n_dropped_H == version.n_seen).all()),
        index,
        f"rows stand for {stands_for_H.tolist()} tokens, {layer.n_dropped_H.tolist()} were dropped, "
        f"{version.n_seen} were seen",
    )
    n_text_H = table.is_commentary_text_HN.sum(dim=-1)
    _require(
        bool((n_text_H <= version.n_text).all()), index, f"{n_text_H.tolist()} rows of text, {version.n_text} came"
    )
    _require(all(row.unique().numel() == row.numel() for row in table.identity_HN), index, "an identity is held twice")
    _require(
        int(end_of(table)) <= version.next_position <= version.shape.max_positions,
        index,
        f"a position lies beyond the clock ({version.next_position}) or the model's limit",
    )
    _require(bool((table.kind_HN[:, : version.n_prefix] == TokenKind.PREFIX).all()), index, "prefix rows moved")
    if layer.archive.n_rows:
        identity_N = layer.archive.table.identity_HN[0]
        _require(identity_N.unique().numel() == identity_N.numel(), index, "a token is archived twice")


def _check_heads(index: int, layer: LayerPlan, held: LayerMemory, n_kv_heads: int) -> None:
    if layer.keep.dim() == 2 and layer.keep.shape[0] != n_kv_heads:
        raise PlanError(f"layer {index}: rows for {layer.keep.shape[0]} heads of {n_kv_heads}")
    if (layer.folds or layer.prototypes) and held.table.n_heads > 1:
        raise PlanError(f"layer {index}: rows that differ between heads cannot be folded or make prototypes")


def _check_archive(index: int, held: LayerMemory, *, has_archive: bool) -> None:
    if not has_archive:
        raise PlanError(f"layer {index}: the plan archives rows, but this memory has no archive")
    if held.table.n_heads > 1:
        raise PlanError(f"layer {index}: rows that differ between heads cannot be archived")


def _check_positions(positions: Sequence[torch.Tensor], n_rows: Sequence[int], version: MemoryVersion) -> None:
    if len(positions) != len(n_rows):
        raise PlanError(f"positions for {len(positions)} layers, the memory has {len(n_rows)}")
    low, limit = version.n_prefix, version.shape.max_positions
    for index, (position_RN, n) in enumerate(zip(positions, n_rows, strict=True)):
        if position_RN.shape != (expected := (version.shape.n_axes, n)):
            raise PlanError(f"layer {index}: positions of shape {tuple(position_RN.shape)}, expected {expected}")
        is_inside = ((position_RN >= low) & (position_RN < limit)).all()
        require(is_inside, f"layer {index}: positions outside [{low}, {limit})")


def _check_budget(n_rows: Sequence[int], n_features: int, budgets_L: Sequence[int]) -> None:
    for index, (n, budget) in enumerate(zip(n_rows, budgets_L, strict=True)):
        if n + n_features > budget:
            beside = f" and {n_features} features" if n_features else ""
            raise PlanError(f"layer {index}: the plan leaves {n} tokens{beside}, the budget is {budget}")


def _require(condition: bool, layer_index: int, message: str) -> None:
    if not condition:
        raise InvariantError(f"layer {layer_index}: {message}")
