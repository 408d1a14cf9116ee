"""Rows that left the memory but not the machine: the archive tier of one layer.

Blocks are immutable and shared by reference, so that versions, forks and snapshots of a stream cost nothing. A block's
rows keep their token table; keys are archived un-rotated, and whoever recalls them says where they stand.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from hermes_stream.memory.packed_rows import PackedRows, StoredTensor, unpack_together
from hermes_stream.memory.token_table import TokenTable

# Layers that archive the same rows may share one table: who executes a plan brings functions that remember.
SelectTable = Callable[[TokenTable, torch.Tensor], TokenTable]
ConcatTables = Callable[[TokenTable, TokenTable], TokenTable]


@dataclass(frozen=True, eq=False)
class ArchiveBlock:
    """Rows of one layer that were archived together, in time order; the same in all heads.

    It counts itself once: each interval asks every block of a stream.
    """

    table: TokenTable
    raw_keys: PackedRows
    values: PackedRows

    @cached_property
    def n_rows(self) -> int:
        return self.table.n_tokens

    def bytes_on(self, *, disk: bool) -> int:
        """Bytes of keys and values in a file, or in host memory."""
        return self._disk_bytes if disk else self._host_bytes

    @cached_property
    def _disk_bytes(self) -> int:
        return sum(part.n_bytes for part in self._parts if part.is_on_disk)

    @cached_property
    def _host_bytes(self) -> int:
        return sum(part.n_bytes for part in self._parts if not part.is_on_disk)

    @property
    def _parts(self) -> tuple[StoredTensor, ...]:
        return (*self.raw_keys.parts, *self.values.parts)

    def select(self, rows_N: torch.Tensor, select_table: SelectTable = TokenTable.select) -> ArchiveBlock:
        """Some of the rows."""
        return ArchiveBlock(select_table(self.table, rows_N), self.raw_keys.select(rows_N), self.values.select(rows_N))

    def join(self, newer: ArchiveBlock, concat_tables: ConcatTables = TokenTable.concat) -> ArchiveBlock:
        """One block of both; for rows that have ranges of their own."""
        return ArchiveBlock(
            concat_tables(self.table, newer.table), self.raw_keys.join(newer.raw_keys), self.values.join(newer.values)
        )


class LayerArchive:
    """The archived rows of one layer, in the order in which they were archived. Rows are numbered over all blocks."""

    def __init__(self, blocks: Sequence[ArchiveBlock] = ()) -> None:
        self.blocks = tuple(blocks)

    @cached_property
    def n_rows(self) -> int:
        return sum(block.n_rows for block in self.blocks)

    @cached_property
    def table(self) -> TokenTable:
        """What each row is. Not for an empty archive."""
        if len(self.blocks) == 1:
            return self.blocks[0].table
        data = torch.cat([block.table.data_CHN for block in self.blocks], dim=-1)
        return TokenTable(data, torch.cat([block.table.times_SHN for block in self.blocks], dim=-1))

    def bytes_on(self, *, disk: bool) -> int:
        return sum(block.bytes_on(disk=disk) for block in self.blocks)

    def select(self, rows_N: torch.Tensor, select_table: SelectTable = TokenTable.select) -> LayerArchive:
        """The archive with these rows (sorted) only; blocks that keep all theirs are shared."""
        return LayerArchive(
            [
                block if inside_N.numel() == block.n_rows else block.select(inside_N, select_table)
                for block, inside_N in self._by_block(rows_N)
            ]
        )

    def read(self, rows_N: torch.Tensor | None, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Un-rotated keys and values `[K, n, D]` of these rows (sorted; None is all, else at least one) on a device."""
        if rows_N is None:
            chosen = [(block.raw_keys, block.values) for block in self.blocks]
        else:
            chosen = [
                (block.raw_keys, block.values)
                if inside_N.numel() == block.n_rows
                else (block.raw_keys.select(inside_N), block.values.select(inside_N))
                for block, inside_N in self._by_block(rows_N)
            ]
        raw_keys, values = zip(*chosen, strict=True)
        return unpack_together(raw_keys, device), unpack_together(values, device)

    def _by_block(self, rows_N: torch.Tensor) -> list[tuple[ArchiveBlock, torch.Tensor]]:
        """Blocks that have some of the given rows, and which of their own these are."""
        if len(self.blocks) == 1:
            return [(self.blocks[0], rows_N)] if rows_N.numel() else []
        edges = torch.searchsorted(rows_N.contiguous(), self._starts.to(rows_N.device)).tolist()
        starts = self._starts.tolist()
        return [
            (block, rows_N[edges[index] : edges[index + 1]] - starts[index])
            for index, block in enumerate(self.blocks)
            if edges[index + 1] > edges[index]
        ]

    @cached_property
    def _starts(self) -> torch.Tensor:
        """Number of each block's first row, and of rows in all."""
        return torch.tensor([0, *(block.n_rows for block in self.blocks)]).cumsum(0)


EMPTY_ARCHIVE = LayerArchive()
