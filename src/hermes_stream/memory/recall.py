"""What a question (or a new frame) sees where that is not simply the memory: archived rows, or some of the held ones.

Shape letters: K key/value heads, N rows, R position axes, D head dimension.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from hermes_stream.errors import PlanError
from hermes_stream.memory.checks import require
from hermes_stream.memory.layout import lay_out
from hermes_stream.memory.rope import Rope, rotate
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import LayerMemory, MemoryVersion

Placement = Literal["stored", "view"]


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """Rows of one layer that are seen, besides the prefix.

    archive_rows: of its archive, int64 `[n]`, sorted; None is none. held_rows: of those after the prefix, likewise;
    None is all of them, or none where the view does not see the memory.
    visible_KN: which of the archive rows each key/value head sees, bool `[K, n]`; None is all.
    """

    archive_rows: torch.Tensor | None = None
    held_rows: torch.Tensor | None = None
    visible_KN: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SeenRows:
    """Keys at their positions and values of one layer, `[K, N, D]`: prefix, archived rows, held rows.

    visible_KN: bool, where heads see different rows; None where all see all.
    """

    keys_KND: torch.Tensor
    values_KND: torch.Tensor
    visible_KN: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Recalled rows with what is not said filled in; held rows count from the first token. None of these is all."""

    archive_rows: torch.Tensor
    held_rows: torch.Tensor | None


def extent(version: MemoryVersion, layer: LayerMemory, recalled: Recalled, *, sees_held: bool) -> int:
    """Where a view of these rows ends, if it begins with the prefix and has no gaps."""
    choice = _choice(version, layer, recalled, sees_held=sees_held)
    table = _view_table(version, layer, choice)
    if not table.n_tokens:
        return version.n_prefix
    return int(lay_out(table, version.n_prefix, version.shape).max()) + 1


def see(
    version: MemoryVersion,
    layer: LayerMemory,
    recalled: Recalled,
    rope: Rope,
    *,
    sees_held: bool,
    placement: Placement,
    end: int,
) -> SeenRows:
    """Gather the rows of a layer. placement: "stored" leaves all rows where they stand (archived ones as far back as
    they were when they left); "view" puts prefix and rows one after the other, so that they end right before `end`.
    """
    choice = _choice(version, layer, recalled, sees_held=sees_held)
    device, n_prefix = layer.values.device, version.n_prefix
    prefix_N = torch.arange(n_prefix, device=device)
    held_N = None if choice.held_rows is None else torch.cat((prefix_N, choice.held_rows.to(device)))
    held_values = layer.values if held_N is None else layer.values[:, held_N]
    n_archived = choice.archive_rows.numel()
    visible_KN = _visible(recalled, n_prefix, n_archived, held_values.shape[1] - n_prefix, device)
    if placement == "stored" and not n_archived:
        return SeenRows(layer.keys if held_N is None else layer.keys[:, held_N], held_values)
    archived = _read(layer, choice.archive_rows, device)
    values_KND = torch.cat((held_values[:, :n_prefix], archived[1], held_values[:, n_prefix:]), dim=1)
    if placement == "stored":
        held_keys = layer.keys if held_N is None else layer.keys[:, held_N]
        archived_keys = _rotate_at(archived[0], _stored_positions(version, layer, choice.archive_rows), rope)
        keys_KND = torch.cat((held_keys[:, :n_prefix], archived_keys, held_keys[:, n_prefix:]), dim=1)
    else:
        raw_keys = layer.raw_keys(rope) if held_N is None else layer.raw_keys(rope)[:, held_N]
        raw_KND = torch.cat((raw_keys[:, :n_prefix], archived[0], raw_keys[:, n_prefix:]), dim=1)
        keys_KND = _rotate_at(raw_KND, _view_positions(version, layer, choice, end), rope)
    return SeenRows(keys_KND, values_KND, visible_KN)


def seen_table(version: MemoryVersion, layer: LayerMemory, recalled: Recalled, *, sees_held: bool) -> TokenTable:
    """What the rows of `see` are, with the positions that they were stored with."""
    choice = _choice(version, layer, recalled, sees_held=sees_held)
    return layer.table.slice(0, version.n_prefix).concat(_recalled_table(version, layer, choice))


def archived_keys(version: MemoryVersion, layer_index: int, rope: Rope, *, rotated: bool) -> torch.Tensor:
    """Keys of all archived rows of a layer, `[K, N, D]`: un-rotated, or where the rows stand by today's clock."""
    layer = version.layers[layer_index]
    device = layer.table.data_CHN.device
    rows_N = torch.arange(layer.archive.n_rows, device=device)
    keys_KND, _ = _read(layer, rows_N, device)
    return _rotate_at(keys_KND, _stored_positions(version, layer, rows_N), rope) if rotated else keys_KND


def _choice(version: MemoryVersion, layer: LayerMemory, recalled: Recalled, *, sees_held: bool) -> _Choice:
    device = layer.table.data_CHN.device
    none = torch.empty(0, dtype=torch.int64, device=device)
    archive_rows = none if recalled.archive_rows is None else recalled.archive_rows
    _check(archive_rows, layer.archive.n_rows, "archived")
    held_rows = recalled.held_rows
    if held_rows is not None:
        _check(held_rows, layer.n_held - version.n_prefix, "held")
        held_rows = held_rows + version.n_prefix
    elif not sees_held:
        held_rows = none
    return _Choice(archive_rows, held_rows)


def _check(rows_N: torch.Tensor, n: int, what: str) -> None:
    if rows_N.dtype != torch.int64 or rows_N.dim() != 1:
        raise PlanError(f"{what} rows that are recalled are {rows_N.dtype} {list(rows_N.shape)}; expected int64 [n]")
    if rows_N.numel():
        is_sorted = (rows_N[1:] > rows_N[:-1]).all() & (rows_N[0] >= 0) & (rows_N[-1] < n)
        require(is_sorted, f"{what} rows that are recalled are not sorted, unique and below {n}")


def _read(layer: LayerMemory, rows_N: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    if not rows_N.numel():
        empty = layer.values[:, :0]
        return empty, empty
    return layer.archive.read(None if rows_N.numel() == layer.archive.n_rows else rows_N, device)


def _recalled_table(version: MemoryVersion, layer: LayerMemory, choice: _Choice) -> TokenTable:
    """Archived rows, then held ones, without the prefix."""
    held = layer.table.slice(version.n_prefix) if choice.held_rows is None else layer.table.select(choice.held_rows)
    if not choice.archive_rows.numel():
        return held
    return layer.archive.table.select(choice.archive_rows).concat(held)


def _view_table(version: MemoryVersion, layer: LayerMemory, choice: _Choice) -> TokenTable:
    """The same, for rows that are placed anew."""
    table = _recalled_table(version, layer, choice)
    if table.n_heads > 1:
        raise PlanError("rows that differ between heads cannot be placed anew for a question")
    return table


def _view_positions(version: MemoryVersion, layer: LayerMemory, choice: _Choice, end: int) -> torch.Tensor:
    """Of prefix and rows, `[R, N]`; they may be negative: only distances count."""
    n_prefix, table = version.n_prefix, _view_table(version, layer, choice)
    position_RN = lay_out(table, n_prefix, version.shape)
    prefix_RN = torch.arange(n_prefix, device=position_RN.device).expand(position_RN.shape[0], -1)
    position_RN = torch.cat((prefix_RN, position_RN), dim=-1)
    if not position_RN.shape[-1]:
        return position_RN
    return position_RN + (end - 1 - position_RN.max())


def _stored_positions(version: MemoryVersion, layer: LayerMemory, rows_N: torch.Tensor) -> torch.Tensor:
    """Of archived rows by today's clock, `[R, N]`; drawn together where positions do not reach as far back."""
    shape, end = version.shape, version.settled_at
    position_RN = layer.archive.table.select(rows_N).position_RHN[:, 0].clone()
    position_RN[list(shape.time_axes)] -= version.moved
    time_N = position_RN[shape.time_axes[0]]
    if end - int(time_N.min()) > shape.reach:
        position_RN[list(shape.time_axes)] += _drawn_together(time_N, end, shape.longest_span) - time_N
    return position_RN


def _drawn_together(time_N: torch.Tensor, end: int, longest_span: int) -> torch.Tensor:
    """Times that lie at most so far before the end: gaps above a common cap shrink to it, as at a compaction."""
    time_U, index_N = time_N.unique(return_inverse=True)
    gap_U = torch.cat((time_U, time_U.new_tensor([end]))).diff()
    low, high = 1, int(gap_U.max())
    while low < high:
        middle = (low + high + 1) // 2
        fits = int(gap_U.clamp(max=middle).sum()) <= longest_span
        low, high = (middle, high) if fits else (low, middle - 1)
    return (end - gap_U.clamp(max=low).flip(0).cumsum(0).flip(0))[index_N]


def _rotate_at(raw_KND: torch.Tensor, position_RN: torch.Tensor, rope: Rope) -> torch.Tensor:
    return rotate(raw_KND, *rope.tables(position_RN, raw_KND.dtype))


def _visible(
    recalled: Recalled, n_prefix: int, n_archived: int, n_held: int, device: torch.device
) -> torch.Tensor | None:
    if recalled.visible_KN is None or not n_archived:
        return None
    archive_KN = recalled.visible_KN.to(device)
    if archive_KN.shape[-1] != n_archived:
        raise PlanError(f"visibility of {archive_KN.shape[-1]} archived rows, but {n_archived} are recalled")
    always = archive_KN.new_ones(archive_KN.shape[0], 1)
    return torch.cat((always.expand(-1, n_prefix), archive_KN, always.expand(-1, n_held)), dim=1)
