"""A stream's whole past as one value, and as one file: tensors as safetensors, everything else as JSON beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hermes_stream.errors import SnapshotError
from hermes_stream.memory.encoding import Reader, Writer, load
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.packed_rows import StoredTensor
from hermes_stream.memory.snapshot_archive import pack_archive, unpack_archives
from hermes_stream.memory.version import LayerMemory, MemoryVersion

_FORMAT = "hermes-stream snapshot"
# Raised whenever what stands in `structure` changes.
_VERSION = "2"


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that a stream is, its model apart. Taking one copies nothing; holding one pins the memory's version.

    structure: JSON, with tensors by name. tensors: shared with the stream that it was taken from; those of an archive
        on a disk are read when they are needed.
    """

    structure: dict[str, Any]
    tensors: Mapping[str, torch.Tensor | StoredTensor]

    def save(self, path: str | Path) -> None:
        """Write the snapshot to a file, which is replaced as a whole or stays as it was.

        Raises SnapshotError if it cannot be written.
        """
        path = Path(path)
        # Copies: safetensors refuses tensors that share storage, and slabs have room beyond their rows.
        tensors = {
            name: load(tensor).cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in sorted(self.tensors.items())
        }
        structure = json.dumps(self.structure)
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "structure": structure,
            "digest": _digest(structure, tensors),
        }
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        try:
            save_file(tensors, unfinished, header)
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            unfinished.unlink(missing_ok=True)
            raise SnapshotError(f"cannot write the snapshot {path}: {_reason(error)}") from error

    @staticmethod
    def load(path: str | Path) -> Snapshot:
        """Read a file that `save` wrote. Raises SnapshotError if it is anything else, or damaged."""
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("format") != _FORMAT:
                    raise SnapshotError(f"{path} is no snapshot of hermes-stream; expected what Snapshot.save wrote")
                if header.get("version") != _VERSION:
                    raise SnapshotError(
                        f"{path} is a snapshot of version {header.get('version')}, this hermes-stream reads version "
                        f"{_VERSION}; restore it with the one that wrote it"
                    )
                # Clones: what is read must not change with the file.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise SnapshotError(
                f"{path} cannot be read as a snapshot: {_reason(error)}; expected a whole file that Snapshot.save wrote"
            ) from error
        structure = header.get("structure", "")
        if header.get("digest") != _digest(structure, tensors):
            raise SnapshotError(f"the snapshot {path} is damaged: its contents do not match its digest")
        return Snapshot(json.loads(structure), tensors)


def pack_memory(memory: KVMemory, writer: Writer) -> dict[str, Any]:
    """A memory's current version and peak; rotated keys too, so that a restored one is the same bit by bit."""
    version = memory.current
    tables = {id(layer.table): layer.table for layer in version.layers}
    table_ids = list(tables)
    return {
        "peak_tokens": memory.peak_tokens,
        "tables": [writer.value(table, f"memory.tables.{index}") for index, table in enumerate(tables.values())],
        "layers": [
            {
                "rows": [
                    writer.tensor(part, f"memory.layers.{index}.rows.{place}")
                    for place, part in enumerate(layer.slab.parts(layer.n_held))
                ],
                "table": table_ids.index(id(layer.table)),
                "n_dropped": writer.value(layer.n_dropped_H, f"memory.layers.{index}.n_dropped_H"),
                "archive": pack_archive(layer.archive, writer, f"memory.layers.{index}.archive"),
            }
            for index, layer in enumerate(version.layers)
        ],
        "version": {
            name: writer.value(getattr(version, name), f"memory.{name}")
            for name in (field.name for field in fields(version))
            if name not in ("shape", "layers")
        },
    }


def unpack_memory(packed: Mapping[str, Any], reader: Reader, memory: KVMemory) -> None:
    """Make a memory what `pack_memory` saw; shape, rope, budgets and the archive's limits stay its own."""
    tables = [reader.value(table) for table in packed["tables"]]
    packed_archives = [layer["archive"] for layer in packed["layers"]]
    devices = [memory.shape.device_of(index) for index in range(len(packed_archives))]
    archives = unpack_archives(packed_archives, reader, memory.store, devices)
    layers = []
    for index, (layer, archive) in enumerate(zip(packed["layers"], archives, strict=True)):
        parts = tuple(reader.tensor(name, devices[index]) for name in layer["rows"])
        slab = memory.current.layers[index].slab.of_parts(parts)
        layers.append(LayerMemory(slab, tables[layer["table"]], reader.value(layer["n_dropped"]), archive))
    values = {name: reader.value(value) for name, value in packed["version"].items()}
    memory.current = MemoryVersion(shape=memory.shape, layers=tuple(layers), **values)
    memory.peak_tokens = packed["peak_tokens"]


def _digest(structure: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the structure and the bytes of every tensor, by name."""
    digest = hashlib.sha256(structure.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
