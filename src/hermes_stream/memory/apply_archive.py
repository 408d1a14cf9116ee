"""What a plan does to the archives of a memory's layers.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch

from hermes_stream.memory.archive import ArchiveBlock, LayerArchive
from hermes_stream.memory.archive_store import ArchiveStore
from hermes_stream.memory.mean_frame import mean_frame
from hermes_stream.memory.once import once_per_object
from hermes_stream.memory.plan import LayerPlan
from hermes_stream.memory.rope import Rope
from hermes_stream.memory.token_table import TokenTable
from hermes_stream.memory.version import LayerMemory, MemoryVersion


def archives_after(
    base: MemoryVersion, layer_plans: Sequence[LayerPlan], rope: Rope, store: ArchiveStore | None
) -> list[LayerArchive]:
    """The archive of each layer after the plan."""
    is_unchanged = all(p.archive is None and not p.archive_means and p.keep_archive is None for p in layer_plans)
    if is_unchanged or store is None:
        return [layer.archive for layer in base.layers]
    select_table = once_per_object(lambda table, p: _in_stream_time(table.select(p.archive + base.n_prefix), base))
    keep_table, join_tables = once_per_object(TokenTable.select), once_per_object(TokenTable.concat)
    blocks = []
    for layer, p in zip(base.layers, layer_plans, strict=True):
        kept = layer.archive if p.keep_archive is None else layer.archive.select(p.keep_archive, keep_table)
        new = [] if p.archive is None else _blocks(layer, p.archive + base.n_prefix, select_table, p, rope, store)
        blocks.append([*kept.blocks, *new, *_mean_blocks(layer, p, base, rope, store)])
    if store.settings.ranges == "row":
        blocks = [[reduce(lambda a, b: a.join(b, join_tables), of_layer)] if of_layer else [] for of_layer in blocks]
    return [LayerArchive(of_layer) for of_layer in store.place(blocks)]


def _blocks(
    layer: LayerMemory,
    rows_N: torch.Tensor,
    select_table: Callable[[TokenTable, Any], TokenTable],
    plan: LayerPlan,
    rope: Rope,
    store: ArchiveStore,
) -> list[ArchiveBlock]:
    rows_N = rows_N.to(layer.values.device)
    return store.blocks(select_table(layer.table, plan), layer.raw_keys(rope)[:, rows_N], layer.values[:, rows_N])


def _mean_blocks(
    layer: LayerMemory, plan: LayerPlan, base: MemoryVersion, rope: Rope, store: ArchiveStore
) -> list[ArchiveBlock]:
    blocks: list[ArchiveBlock] = []
    identity = base.next_identity + len(plan.folds) + len(plan.prototypes)
    for rows_N in plan.archive_means:
        chosen_N = rows_N + base.n_prefix
        on_layer_N = chosen_N.to(layer.values.device)
        raw_key_KND, value_KND = layer.raw_keys(rope)[:, on_layer_N], layer.values[:, on_layer_N]
        table, *made = mean_frame(layer.table.select(chosen_N), raw_key_KND, value_KND, identity)
        blocks += store.blocks(_in_stream_time(table, base), *made)
        identity += rows_N.numel()
    return blocks


def _in_stream_time(table: TokenTable, base: MemoryVersion) -> TokenTable:
    """Rows that leave get positions as if the clock had never been moved back: later compactions do not reach them."""
    if not base.moved:
        return table
    position_RHN = table.position_RHN.clone()
    position_RHN[list(base.shape.time_axes)] += base.moved
    return table.with_positions(position_RHN)
