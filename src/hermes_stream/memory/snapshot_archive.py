"""Archives in snapshots: blocks as they are packed, never packed again, wherever they stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hermes_stream.memory.archive import EMPTY_ARCHIVE, ArchiveBlock, LayerArchive
from hermes_stream.memory.archive_store import ArchiveStore
from hermes_stream.memory.encoding import Reader, Writer
from hermes_stream.memory.packed_rows import HostTensor, PackedRows
from hermes_stream.memory.token_table import TokenTable


def pack_archive(archive: LayerArchive, writer: Writer, name: str) -> list[dict[str, Any]]:
    """The blocks of one layer."""
    return [
        {
            "table": writer.value(block.table, f"{name}.{index}.table"),
            "raw_keys": _pack_rows(block.raw_keys, writer, f"{name}.{index}.raw_keys"),
            "values": _pack_rows(block.values, writer, f"{name}.{index}.values"),
        }
        for index, block in enumerate(archive.blocks)
    ]


def unpack_archives(
    packed: Sequence[Sequence[Mapping[str, Any]]],
    reader: Reader,
    store: ArchiveStore | None,
    devices: Sequence[torch.device],
) -> list[LayerArchive]:
    """The archive of each layer, placed anew: in host memory up to its limit, the rest on the disk.

    devices: of the layers. Raises LimitError if there is no room.
    """
    if store is None:
        return [EMPTY_ARCHIVE] * len(packed)
    # By the names of their tensors: layers that shared a table share it again.
    tables: dict[str, TokenTable] = {}
    layers = []
    for blocks, device in zip(packed, devices, strict=True):
        made = [_unpack_rows_of(block, reader, store, device) for block in blocks]
        named = [tables.setdefault(str(block["table"]), reader.value(block["table"])) for block in blocks]
        layers.append([ArchiveBlock(table, *rows) for table, rows in zip(named, made, strict=True)])
    return [LayerArchive(blocks) for blocks in store.place(layers)]


def _unpack_rows_of(
    packed: Mapping[str, Any], reader: Reader, store: ArchiveStore, device: torch.device
) -> tuple[PackedRows, PackedRows]:
    """Keys and values of a block."""
    keys, values = (_unpack_rows(packed[name], reader, store, device) for name in ("raw_keys", "values"))
    return keys, values


def _pack_rows(rows: PackedRows, writer: Writer, name: str) -> dict[str, Any]:
    parts = [part.tensor if isinstance(part, HostTensor) else part for part in rows.parts]
    return {
        "bits": rows.bits,
        "ranges": rows.ranges,
        "dtype": str(rows.dtype).removeprefix("torch."),
        "parts": [writer.tensor(part, f"{name}.{index}") for index, part in enumerate(parts)],
    }


def _unpack_rows(packed: Mapping[str, Any], reader: Reader, store: ArchiveStore, device: torch.device) -> PackedRows:
    parts = tuple(store.hold(reader.host_tensor(name), device) for name in packed["parts"])
    return PackedRows(packed["bits"], getattr(torch, packed["dtype"]), parts, packed["ranges"])
