"""Rows that are taken out of a version wherever they are: held, waiting as features, archived. Pure: the old version
stays as it is.

Shape letters: L layers, H heads with rows of their own (1 when all hold the same), N rows, n those that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from hermes_stream.memory.apply import with_prefix
from hermes_stream.memory.archive import ArchiveBlock, LayerArchive
from hermes_stream.memory.archive_store import ArchiveStore
from hermes_stream.memory.features import FeatureBank
from hermes_stream.memory.once import once_per_object
from hermes_stream.memory.token_table import TokenKind, TokenTable
from hermes_stream.memory.turns import Part, parts_of
from hermes_stream.memory.version import LayerMemory, MemoryVersion

# Of each row of a table, bool `[H, N]`.
IsGone = Callable[[TokenTable], torch.Tensor]


@dataclass(slots=True, eq=False)
class Removal:
    """What was taken out of a version.

    rows_by_kind: rows of keys and values, over all layers, and over heads where these hold different ones. more_rows:
        others that went because all heads of a layer hold as many rows. features, archive_rows: how many.
    archive_rows_L: of each layer, those rows of its archive as it was that are left, int64, sorted.
    """

    rows_by_kind: dict[TokenKind, int] = field(default_factory=dict)
    more_rows: int = 0
    features: int = 0
    archive_rows: int = 0
    archive_rows_L: tuple[torch.Tensor, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (any(self.rows_by_kind.values()) or self.features or self.archive_rows)


def shown_after(seconds: float) -> IsGone:
    """Rows in which there is anything of frames that were shown later."""
    return lambda table: table.span_2HN[1] > seconds


def shown_within(start_seconds: float, end_seconds: float) -> IsGone:
    """Rows in which there may be anything of frames that were shown in `[start, end)`.

    What was made of several rows, or said of several frames, spans from the oldest to the newest frame in it, and
    nobody knows what is between. A grid is of its frames, which are the first and the last.
    """

    def is_gone(table: TokenTable) -> torch.Tensor:
        first_HN, last_HN = table.span_2HN
        is_of_many_HN = (table.kind_HN == TokenKind.SUMMARY) | (parts_of(table.turn_HN) >= Part.WORD)
        overlaps_HN = (first_HN < end_seconds) & (last_HN >= start_seconds)
        is_apart_HN = (first_HN < start_seconds) & (last_HN >= end_seconds) & ~is_of_many_HN
        gone_HN: torch.Tensor = overlaps_HN & ~is_apart_HN
        return gone_HN

    return is_gone


def remove(
    version: MemoryVersion, is_gone: IsGone, store: ArchiveStore | None, *, forgets: bool
) -> tuple[MemoryVersion, Removal]:
    """The version without some rows, as if a plan had dropped them; positions stay. Reads the device.

    forgets: nothing of them is to be left in what the archive keeps of their neighbours.
    Where heads hold different rows, and lose more or fewer of them, the oldest rows of some go too.
    """
    removal = Removal()
    rows_left = once_per_object(lambda table, version: _rows_left(table, version.n_prefix, is_gone))
    select_table = once_per_object(TokenTable.select)
    layers = tuple(_without(layer, version, rows_left, select_table, removal) for layer in version.layers)
    archives, removal.archive_rows_L = _archives_without(version, is_gone, store, removal, forgets=forgets)
    layers = tuple(replace(layer, archive=archive) for layer, archive in zip(layers, archives, strict=True))
    features = bank_without(version.features, is_gone)
    removal.features = version.features.n_rows - features.n_rows
    return replace(version, layers=layers, features=features, number=version.number + 1), removal


def bank_without(bank: FeatureBank, is_gone: IsGone) -> FeatureBank:
    """The features that are left."""
    gone_N = is_gone(bank.table)[0]
    if not bool(gone_N.any()):
        return bank
    n_dropped = (bank.table.count_HN[0] * gone_N).sum()
    return replace(bank.select((~gone_N).nonzero()[:, 0]), n_dropped=bank.n_dropped + n_dropped)


@dataclass(frozen=True, slots=True, eq=False)
class _RowsLeft:
    """rows: `[n]`, or `[H, n]`, prefix first; None where all stay. gone_HN: bool, of the rows after the prefix."""

    rows: torch.Tensor | None
    gone_HN: torch.Tensor


def _rows_left(table: TokenTable, n_prefix: int, is_gone: IsGone) -> _RowsLeft:
    gone_HN = is_gone(table.slice(n_prefix))
    if not bool(gone_HN.any()):
        return _RowsLeft(None, gone_HN)
    n_left = int((~gone_HN).sum(dim=-1).min())
    # Sorted, and those that stay last: the newest of them are the last ones.
    order_HN = (~gone_HN).to(torch.int8).argsort(dim=-1, stable=True)
    keep_Hn = order_HN[:, gone_HN.shape[1] - n_left :]
    return _RowsLeft(with_prefix(keep_Hn[0] if table.n_heads == 1 else keep_Hn, n_prefix), gone_HN)


def _without(
    layer: LayerMemory,
    version: MemoryVersion,
    rows_left: Callable[[TokenTable, MemoryVersion], _RowsLeft],
    select_table: Callable[[TokenTable, torch.Tensor], TokenTable],
    removal: Removal,
) -> LayerMemory:
    left, n_prefix = rows_left(layer.table, version), version.n_prefix
    if left.rows is None:
        return layer
    table = select_table(layer.table, left.rows)
    before = layer.table.slice(n_prefix).expand_heads(table.n_heads)
    for kind in (TokenKind.VISION, TokenKind.TEXT, TokenKind.SUMMARY):
        n_gone = int((left.gone_HN & (layer.table.kind_HN[:, n_prefix:] == kind)).sum())
        removal.rows_by_kind[kind] = removal.rows_by_kind.get(kind, 0) + n_gone
    removal.more_rows += (layer.n_held - table.n_tokens) * table.n_heads - int(left.gone_HN.sum())
    n_dropped_H = before.count_HN.sum(dim=-1) - table.slice(n_prefix).count_HN.sum(dim=-1)
    slab = layer.slab.select(left.rows, capacity=layer.slab.capacity)
    return replace(layer, slab=slab, table=table, n_dropped_H=layer.n_dropped_H + n_dropped_H)


def _archives_without(
    version: MemoryVersion, is_gone: IsGone, store: ArchiveStore | None, removal: Removal, *, forgets: bool
) -> tuple[list[LayerArchive], tuple[torch.Tensor, ...]]:
    """The archive of each layer, and which of its rows are left."""
    archives = [layer.archive for layer in version.layers]
    stays_L = [_stays(archive, is_gone, version) for archive in archives]
    rows_L = tuple(stays_N.nonzero()[:, 0] for stays_N in stays_L)
    removal.archive_rows = sum(int((~stays_N).sum()) for stays_N in stays_L)
    if store is None or not removal.archive_rows:
        return archives, rows_L
    select_table = once_per_object(TokenTable.select)
    select = once_per_object(lambda table, _: (~is_gone(table)[0]).nonzero()[:, 0])

    def left_of(block: ArchiveBlock) -> ArchiveBlock | None:
        rows_N = select(block.table, None)
        if rows_N.numel() in (0, block.n_rows):
            return block if rows_N.numel() else None
        if forgets:
            return store.without(block, rows_N, select_table)
        return block.select(rows_N, select_table)

    blocks = [[left for block in archive.blocks if (left := left_of(block))] for archive in archives]
    placed = store.place(blocks, has_room=True)
    if forgets:
        kept = {id(block) for of_layer in placed for block in of_layer}
        store.erase([block for archive in archives for block in archive.blocks if id(block) not in kept])
    return [LayerArchive(of_layer) for of_layer in placed], rows_L


def _stays(archive: LayerArchive, is_gone: IsGone, version: MemoryVersion) -> torch.Tensor:
    if not archive.n_rows:
        return torch.ones(0, dtype=torch.bool, device=version.shape.device)
    return ~is_gone(archive.table)[0]


def count_standing_for(version: MemoryVersion, layer: LayerMemory) -> int:
    """Tokens that the rows of a layer stand for, held or archived, in the head that holds fewest."""
    held = layer.table.slice(version.n_prefix)
    n_held = int(held.count_HN.sum(dim=-1).min())
    if not layer.archive.n_rows:
        return n_held
    archived = layer.archive.table
    is_new_N = ~torch.isin(archived.identity_HN[0], held.identity_HN[0])
    return n_held + int((archived.count_HN[0] * is_new_N).sum())


def newest_seconds(tables: Sequence[TokenTable]) -> float | None:
    """Time of the newest frame that any row was made of; None if there are no rows."""
    newest = [float(table.span_2HN[1].max()) for table in tables if table.n_tokens]
    return max(newest, default=None)
