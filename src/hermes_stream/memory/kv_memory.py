"""The memory of one stream: its current version, and the two ways to the next one, append and plan.

Shape letters: K key/value heads, N held tokens, D head dimension, R position axes, H heads with rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from hermes_stream.errors import InvariantError, LimitError, PlanError
from hermes_stream.memory.append import NewRows, PendingAppend
from hermes_stream.memory.features import split_frames
from hermes_stream.memory.plan import Fold, LayerPlan, Plan, Positions
from hermes_stream.memory.positions import compact_positions, next_free_position
from hermes_stream.memory.rope import Rope, rotate, unrotate
from hermes_stream.memory.slab import Slab
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.version import LayerMemory, MemoryShape, MemoryVersion
from hermes_stream.types import VisualTokens


class KVMemory:
    """The current version of one stream's memory, and the only writer of it.

    budget_tokens: rows after the prefix that each layer may hold once a plan was applied; None is unlimited.
    keep_raw: keep un-rotated keys beside the working copy, so that any number of placements stays exact; without
    them a third of the bytes is saved and each placement adds a rounding.
    """

    def __init__(
        self, shape: MemoryShape, rope: Rope, *, budget_tokens: int | None = None, keep_raw: bool = True
    ) -> None:
        self.shape = shape
        self.rope = rope
        self.budget_tokens = budget_tokens
        self.peak_tokens = 0
        empty = TokenTable(
            torch.zeros(6 + shape.n_axes, 1, 0, dtype=torch.int64, device=shape.device),
            torch.zeros(1, 0, dtype=torch.float64, device=shape.device),
        )
        layers = tuple(
            LayerMemory(
                Slab.empty(
                    shape.n_kv_heads, shape.head_dim, 64, dtype=shape.dtype, device=shape.device, keep_raw=keep_raw
                ),
                empty,
                0,
            )
            for _ in range(shape.n_layers)
        )
        self.current = MemoryVersion(layers, 0, 0, 0, 0, 0, 0.0, 0)

    def fork(self) -> KVMemory:
        """A memory that shares every row with this one and then goes its own way (copy on write)."""
        twin = object.__new__(KVMemory)
        twin.__dict__.update(self.__dict__)
        return twin

    def room(self) -> int:
        """Positions left before the model's limit."""
        return self.shape.max_positions - self.current.next_position

    def make_room(self, n_positions: int) -> None:
        """Compact if the next `n_positions` would pass the model's limit; LimitError if even that is not enough."""
        if n_positions <= self.room():
            return
        # Mid-interval, when layers may rightly hold more than the budget.
        self._execute(Plan(positions=Positions.COMPACT))
        if n_positions > self.room():
            raise LimitError(
                f"{n_positions} more positions do not fit: {self.current.next_position} of the model's "
                f"{self.shape.max_positions} are taken by tokens that the policy keeps; use a smaller budget"
            )

    def begin_prefix(self, n_tokens: int) -> PendingAppend:
        """Start the commit of the prefix; only on an empty memory."""
        if self.current.number != 0:
            raise InvariantError("the prefix must be the first thing in a memory")
        positions_T = torch.arange(n_tokens, device=self.shape.device)
        table = TokenTable.build(
            kind=TokenKind.PREFIX,
            identity_N=positions_T,
            position_RN=positions_T.expand(self.shape.n_axes, -1),
        )
        return PendingAppend(self.current, NewRows(table, n_tokens, 0, 0.0))

    def begin_vision(self, tokens: VisualTokens, time_seconds: float) -> PendingAppend:
        """Start the commit of encoded frames, the newest of which is shown at `time_seconds`.

        Raises LimitError before anything is written if the positions do not fit; see `make_room`.
        """
        base = self.current
        if tokens.n_positions > self.room():
            raise LimitError(f"a chunk of {tokens.n_positions} positions does not fit the {self.room()} that are left")
        device = self.shape.device
        table = TokenTable.build(
            kind=TokenKind.VISION,
            identity_N=base.next_identity + torch.arange(tokens.frame_N.numel(), device=device),
            position_RN=base.next_position + tokens.positions_RN.to(device),
            frame_N=base.frames_seen + tokens.frame_N.to(device),
            row_N=tokens.row_N.to(device),
            column_N=tokens.column_N.to(device),
            seconds_N=tokens.times_seconds_N.to(device),
        )
        return PendingAppend(base, NewRows(table, tokens.n_positions, tokens.n_frames, time_seconds))

    def commit(self, pending: PendingAppend) -> MemoryVersion:
        """Make the rows of a finished append part of the memory."""
        base, rows = pending.base, pending.rows
        if base is not self.current:
            raise InvariantError("the memory has changed since this append began")
        is_prefix = base.number == 0
        append_table = _once_per_object(lambda table, new: table.concat(new.table))
        layers = tuple(
            LayerMemory(slab, append_table(layer.table, rows), layer.n_dropped)
            for layer, slab in zip(base.layers, pending.finished_slabs(), strict=True)
        )
        n_new = rows.table.n_tokens
        self.current = MemoryVersion(
            layers,
            n_prefix=n_new if is_prefix else base.n_prefix,
            next_position=base.next_position + rows.n_positions,
            next_identity=base.next_identity + n_new,
            n_seen=base.n_seen + (0 if is_prefix else n_new),
            frames_seen=base.frames_seen + rows.n_frames,
            time_seconds=rows.time_seconds,
            number=base.number + 1,
        )
        self.peak_tokens = max(self.peak_tokens, *self.current.held_tokens)
        return self.current

    def commit_features(self, tokens: VisualTokens, time_seconds: float) -> MemoryVersion:
        """Hold encoded frames beside the memory, without running them through the text model."""
        base = self.current
        self.current = replace(
            base,
            features=base.features + split_frames(tokens, base.frames_seen),
            frames_seen=base.frames_seen + tokens.n_frames,
            time_seconds=time_seconds,
            number=base.number + 1,
        )
        return self.current

    def apply(self, plan: Plan) -> MemoryVersion:
        """Execute a plan; readers of earlier versions are not disturbed.

        Raises PlanError, with the memory unchanged, if the plan is malformed or leaves a layer over the budget.
        """
        plan.validate(self.current.held_tokens)
        self._check_budget(plan)
        return self._execute(plan)

    def check_invariants(self) -> None:
        """Raise InvariantError if a law of the memory does not hold (architecture, laws 1, 2 and 6).

        Not law 2's budget: between plans a layer may hold one interval more.
        """
        version = self.current
        for index, layer in enumerate(version.layers):
            table = layer.table
            _require(layer.slab.n_used >= layer.n_held, index, "the slab has fewer rows than the table")
            stands_for_H = table.count_HN[:, version.n_prefix :].sum(dim=-1)
            _require(
                bool((stands_for_H + layer.n_dropped == version.n_seen).all()),
                index,
                f"rows stand for {stands_for_H.tolist()} tokens, {layer.n_dropped} were dropped, "
                f"{version.n_seen} were seen",
            )
            identity_HN = table.identity_HN
            _require(
                all(row.unique().numel() == row.numel() for row in identity_HN), index, "an identity is held twice"
            )
            _require(
                next_free_position(table) <= version.next_position <= self.shape.max_positions,
                index,
                f"a position lies beyond the clock ({version.next_position}) or the model's limit",
            )
            _require(bool((table.kind_HN[:, : version.n_prefix] == TokenKind.PREFIX).all()), index, "prefix rows moved")

    def _execute(self, plan: Plan) -> MemoryVersion:
        if plan.keep_frames is not None:
            keep = frozenset(plan.keep_frames)
            features = tuple(frame for frame in self.current.features if frame.frame in keep)
            self.current = replace(self.current, features=features, number=self.current.number + 1)
        base = self.current
        if plan.is_identity:
            return base
        layer_plans = plan.layers or tuple(self._keep_everything(n) for n in base.held_tokens)
        select_table = _once_per_object(lambda table, plan: table.select(_with_prefix(plan.keep, base.n_prefix)))
        layers = tuple(
            self._apply_rows(layer, p, base, select_table(layer.table, p))
            for layer, p in zip(base.layers, layer_plans, strict=True)
        )
        layers = self._place(layers, plan.positions, base.n_prefix)
        self.current = replace(
            base,
            layers=layers,
            next_position=self._next_position(layers, plan.positions),
            next_identity=base.next_identity + max(len(p.folds) for p in layer_plans),
            number=base.number + 1,
        )
        return self.current

    def _keep_everything(self, n: int) -> LayerPlan:
        return LayerPlan(torch.arange(n, device=self.shape.device))

    def _check_budget(self, plan: Plan) -> None:
        if self.budget_tokens is None:
            return
        held = self.current.held_tokens
        if plan.layers is not None:
            held = tuple(layer.keep.shape[-1] + len(layer.folds) for layer in plan.layers)
        for index, n in enumerate(held):
            if n > self.budget_tokens:
                raise PlanError(f"layer {index}: the plan leaves {n} tokens, the budget is {self.budget_tokens}")

    def _apply_rows(self, layer: LayerMemory, plan: LayerPlan, base: MemoryVersion, table: TokenTable) -> LayerMemory:
        slab = layer.slab.select(_with_prefix(plan.keep, base.n_prefix), capacity=layer.slab.capacity)
        for index, fold in enumerate(plan.folds):
            slab, table = self._append_summary(layer, fold, slab, table, base, base.next_identity + index)
        held = int(table.count_HN[0, base.n_prefix :].sum())
        return LayerMemory(slab, table, base.n_seen - held)

    def _append_summary(
        self, layer: LayerMemory, fold: Fold, slab: Slab, table: TokenTable, base: MemoryVersion, identity: int
    ) -> tuple[Slab, TokenTable]:
        """HERMES 3.8: mean value and mean un-rotated key, rotated once to the position after the last kept token."""
        rows_N = fold.rows_N + base.n_prefix
        folded = layer.table.select(rows_N)
        count_N = folded.count_HN[0]
        weight_N = (count_N if fold.weight == "count" else torch.ones_like(count_N)).double()
        weight_N = weight_N / weight_N.sum()
        position = next_free_position(table)
        position_R1 = torch.full((self.shape.n_axes, 1), position, device=self.shape.device)
        raw_K1D = self._weighted_mean(self._raw_keys(layer)[:, rows_N], weight_N)
        value_K1D = self._weighted_mean(layer.values[:, rows_N], weight_N)
        rotated_K1D = rotate(raw_K1D, *self.rope.tables(position_R1, self.shape.dtype))
        row = TokenTable.build(
            kind=TokenKind.SUMMARY,
            identity_N=torch.tensor([identity], device=self.shape.device),
            position_RN=position_R1,
            count_N=count_N.sum()[None],
            seconds_N=(folded.seconds_HN[0] * (count_N / count_N.sum())).sum()[None],
        )
        return slab.append(table.n_tokens, rotated_K1D, value_K1D, raw_K1D), table.concat(row)

    def _weighted_mean(self, x_KND: torch.Tensor, weight_N: torch.Tensor) -> torch.Tensor:
        exact = torch.promote_types(x_KND.dtype, torch.float32)
        mean_KD = torch.einsum("knd,n->kd", x_KND.to(exact), weight_N.to(exact))
        return mean_KD[:, None].to(x_KND.dtype)

    def _raw_keys(self, layer: LayerMemory) -> torch.Tensor:
        if layer.slab.keeps_raw:
            return layer.slab.raw_keys(layer.n_held)
        position_RHN = layer.table.position_RHN
        exact = torch.promote_types(self.shape.dtype, torch.float32)
        cos, sin = self.rope.tables(position_RHN, exact)
        return unrotate(layer.keys.to(exact), cos, sin).to(self.shape.dtype)

    def _place(
        self, layers: tuple[LayerMemory, ...], positions: Positions | tuple[torch.Tensor, ...], n_prefix: int
    ) -> tuple[LayerMemory, ...]:
        """Give rows their new positions and remake the working copy of their keys from the truth."""
        if positions is Positions.KEEP:
            return layers
        placed = []
        for index, layer in enumerate(layers):
            if isinstance(positions, Positions):
                position_RHN = compact_positions(layer.table, n_prefix)
            else:
                position_RHN = layer.table.position_RHN.clone()
                position_RHN[..., n_prefix:] = positions[index][:, None]
            cos, sin = self.rope.tables(position_RHN, self.shape.dtype)
            layer.slab.replace_keys(rotate(self._raw_keys(layer), cos, sin))
            placed.append(replace(layer, table=layer.table.with_positions(position_RHN)))
        return tuple(placed)

    def _next_position(self, layers: tuple[LayerMemory, ...], positions: Positions | tuple[torch.Tensor, ...]) -> int:
        largest = max(next_free_position(layer.table) for layer in layers)
        if positions is Positions.KEEP:
            return max(largest, self.current.next_position)
        return largest


def _with_prefix(keep: torch.Tensor, n_prefix: int) -> torch.Tensor:
    """Row numbers that count from the first token: the prefix, then the kept rows; `[n]` or `[K, n]`."""
    prefix = torch.arange(n_prefix, device=keep.device).expand(*keep.shape[:-1], -1)
    return torch.cat((prefix, keep + n_prefix), dim=-1)


def _once_per_object(function: Callable[[TokenTable, Any], TokenTable]) -> Callable[[TokenTable, Any], TokenTable]:
    """Layers that hold the same tokens share one table: compute it once, not once per layer."""
    results: dict[tuple[int, int], TokenTable] = {}

    def once(table: TokenTable, argument: Any) -> TokenTable:
        key = id(table), id(argument)
        if key not in results:
            results[key] = function(table, argument)
        return results[key]

    return once


def _require(condition: bool, layer_index: int, message: str) -> None:
    if not condition:
        raise InvariantError(f"layer {layer_index}: {message}")
