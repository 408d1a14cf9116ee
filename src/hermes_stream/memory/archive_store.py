"""Where archived rows go: host memory up to a limit, then a file up to another.

Shape letters: K key/value heads, N rows, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hermes_stream.errors import ConfigError, LimitError
from hermes_stream.memory.archive import ArchiveBlock, SelectTable
from hermes_stream.memory.packed_rows import Bits, HostTensor, PackedRows, Ranges, pack
from hermes_stream.memory.spill_file import FileTensor, SpillFile
from hermes_stream.memory.token_table import TokenTable


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Precision and limits of an archive.

    bits: of an archived number; 16 is the model's own precision. per_frame: rows of each frame have minima and scales
    of their own; otherwise all rows that are archived together share them. ranges: "row" gives each row its own, so
    that an archive that forgets rows one by one takes as many bytes as it has rows, in a single block.
    resident: rows stay on the device of their layer, where questions and frames need them at once.
    host_bytes: most in host memory. disk: a folder for what is beyond, up to disk_bytes; None fails instead.
    """

    bits: Bits = 16
    per_frame: bool = False
    ranges: Ranges = "channel"
    resident: bool = False
    host_bytes: int = 2**33
    disk: Path | None = None
    disk_bytes: int = 2**36

    def __post_init__(self) -> None:
        """Raise ConfigError for a folder that is none."""
        if self.disk is not None and not self.disk.is_dir():
            raise ConfigError(f"the archive's folder {self.disk} does not exist; make it first, or leave disk out")


class ArchiveStore:
    """Turns rows into blocks, and puts them where there is room. Forks share it, and its file."""

    def __init__(self, settings: ArchiveSettings, *, pin: bool) -> None:
        self.settings = settings
        self._pin = pin
        self._file: SpillFile | None = None

    def blocks(self, table: TokenTable, raw_key_KND: torch.Tensor, value_KND: torch.Tensor) -> list[ArchiveBlock]:
        """Rows that are archived together, in host memory: one block, or one for each frame of them."""
        if not table.n_tokens:
            return []
        lengths = [table.n_tokens]
        if self.settings.per_frame:
            lengths = torch.unique_consecutive(table.frame_HN[0], return_counts=True)[1].tolist()
        blocks, start = [], 0
        for length in lengths:
            rows = slice(start, start + length)
            of_rows = table if length == table.n_tokens else table.slice(start, start + length)
            blocks.append(ArchiveBlock(of_rows, self._pack(raw_key_KND[:, rows]), self._pack(value_KND[:, rows])))
            start += length
        return blocks

    def hold(self, tensor: torch.Tensor, device: torch.device) -> HostTensor:
        """A tensor of host memory as the store keeps them. device: of the layer."""
        if self.settings.resident:
            return HostTensor(tensor.to(device))
        return HostTensor(tensor.pin_memory() if self._pin else tensor)

    def _pack(self, x_KND: torch.Tensor) -> PackedRows:
        settings = self.settings
        return pack(x_KND, settings.bits, ranges=settings.ranges, pin=self._pin, resident=settings.resident)

    def without(
        self, block: ArchiveBlock, rows_N: torch.Tensor, select_table: SelectTable = TokenTable.select
    ) -> ArchiveBlock:
        """A block of these rows, sorted, in host memory, in which nothing is left of the others.

        Ranges that rows share are made anew of those that are left, which rounds these once more.
        """
        settings = self.settings
        if settings.bits == 16 or settings.ranges == "row":
            return block.select(rows_N, select_table)
        home = block.raw_keys.parts[0].load().device if settings.resident else torch.device("cpu")
        parts = [self._pack(rows.unpack(home)[:, rows_N.to(home)]) for rows in (block.raw_keys, block.values)]
        return ArchiveBlock(select_table(block.table, rows_N), *parts)

    def erase(self, blocks: Sequence[ArchiveBlock]) -> None:
        """Blocks that are forgotten: what they have in the file is overwritten once nobody holds them any more."""
        for block in blocks:
            for part in (*block.raw_keys.parts, *block.values.parts):
                if isinstance(part, FileTensor):
                    part.file.erase_when_free(part)

    def flush(self) -> None:
        """Wait until what was overwritten is so on the disk."""
        if self._file is not None:
            self._file.flush()

    def place(self, layers: Sequence[Sequence[ArchiveBlock]], *, has_room: bool = False) -> list[list[ArchiveBlock]]:
        """The blocks of all layers; where they pass the limit of host memory, the newest of each layer in the file.

        has_room: they take the place of others that are larger, and still there. Otherwise raises LimitError, with
        nothing written, if there is no room for them.
        """
        n_host = sum(block.bytes_on(disk=False) for blocks in layers for block in blocks)
        if n_host <= self.settings.host_bytes:
            return [list(blocks) for blocks in layers]
        placed, n_moved = self._split(layers, n_host - self.settings.host_bytes)
        if not has_room:
            self._check_room(n_host, n_moved)
        if self._file is None:
            assert self.settings.disk is not None
            self._file = SpillFile(self.settings.disk)
        return [[self._spill(block) if moves else block for block, moves in blocks] for blocks in placed]

    def _split(
        self, layers: Sequence[Sequence[ArchiveBlock]], n_excess: int
    ) -> tuple[list[list[tuple[ArchiveBlock, bool]]], int]:
        """Which blocks move, the newest of all layers first, and how many bytes these are."""
        moves: set[tuple[int, int]] = set()
        n_moved = 0
        for age in range(max(len(blocks) for blocks in layers)):
            for index, blocks in enumerate(layers):
                n = 0 if age >= len(blocks) else blocks[-1 - age].bytes_on(disk=False)
                if n and n_moved < n_excess:
                    moves.add((index, len(blocks) - 1 - age))
                    n_moved += n
        marked = [
            [(block, (index, number) in moves) for number, block in enumerate(blocks)]
            for index, blocks in enumerate(layers)
        ]
        return marked, n_moved

    def _check_room(self, n_host: int, n_moved: int) -> None:
        settings = self.settings
        if settings.disk is None:
            raise LimitError(
                f"the archive needs {n_host} bytes of host memory, its limit is {settings.host_bytes}; raise the "
                "option host, give disk=FOLDER for the rest, or take a policy that forgets"
            )
        n_disk = n_moved + (0 if self._file is None else self._file.n_bytes)
        if n_disk > settings.disk_bytes:
            raise LimitError(
                f"the archive needs {n_disk} bytes in {settings.disk}, its limit is {settings.disk_bytes}; raise the "
                "option disk_limit, or take a policy that forgets"
            )

    def _spill(self, block: ArchiveBlock) -> ArchiveBlock:
        return ArchiveBlock(block.table, self._spill_rows(block.raw_keys), self._spill_rows(block.values))

    def _spill_rows(self, rows: PackedRows) -> PackedRows:
        assert self._file is not None
        file = self._file
        parts = tuple(file.write(part.tensor) if isinstance(part, HostTensor) else part for part in rows.parts)
        return PackedRows(rows.bits, rows.dtype, parts)
