"""A stream's whole past as one value, and as one file: tensors as safetensors, everything else as JSON beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import torch

from hermes_stream.errors import SealError, SnapshotError
from hermes_stream.memory.encoding import Reader, Writer, load
from hermes_stream.memory.kv_memory import KVMemory
from hermes_stream.memory.packed_rows import StoredTensor
from hermes_stream.memory.snapshot_archive import pack_archive, unpack_archives
from hermes_stream.memory.tensor_file import raw_bytes, read_tensors, write_tensors
from hermes_stream.memory.version import LayerMemory, MemoryVersion
from hermes_stream.sealing import is_sealed, open_sealed, seal

_FORMAT = "hermes-stream snapshot"
# Raised whenever what stands in `structure` changes.
_VERSION = "5"


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything that a stream is, its model apart. Taking one copies nothing; holding one pins the memory's version.

    structure: JSON, with tensors by name. tensors: shared with the stream that it was taken from; those of an archive
        on a disk are read when they are needed.
    """

    structure: dict[str, Any]
    tensors: Mapping[str, torch.Tensor | StoredTensor]

    def save(self, path: str | Path, key: bytes | None = None) -> None:
        """Write the snapshot to a file, which is replaced as a whole or stays as it was.

        key: 32 bytes (`sealing.parse_key` makes them of text) under which the file is sealed; nothing of it is ever on
        the disk unsealed. Raises SnapshotError if it cannot be written, ConfigError for a key that is none.
        """
        path = Path(path)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        try:
            with unfinished.open("wb") as file:
                self._write(file, key)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise SnapshotError(f"cannot write the snapshot {path}: {_reason(error)}") from error
        finally:
            unfinished.unlink(missing_ok=True)

    def _write(self, file: BinaryIO, key: bytes | None) -> None:
        structure = json.dumps(self.structure)
        kinds, digest = {}, _Digest(structure)
        for name in sorted(self.tensors):
            tensor = self._read(name)
            kinds[name] = tensor.dtype, tensor.shape
            digest.add(name, tensor)
        header = {"format": _FORMAT, "version": _VERSION, "structure": structure, "digest": digest.text}
        if key is None:
            write_tensors(file, kinds, self._read, header)
            return
        with seal(file, key) as sealed:
            write_tensors(sealed, kinds, self._read, header)

    def _read(self, name: str) -> torch.Tensor:
        return load(self.tensors[name])

    @staticmethod
    def load(path: str | Path, key: bytes | None = None) -> Snapshot:
        """Read a file that `save` wrote. key: the one that it was sealed with, None for a file that is not sealed.

        Raises SnapshotError if it is anything else, or damaged, and if the key is another one.
        """
        try:
            with Path(path).open("rb") as file:
                if is_sealed(file) != (key is not None):
                    raise SnapshotError(
                        f"{path} is sealed; give the key that it was sealed with"
                        if key is None
                        else f"{path} is not sealed; load it without a key"
                    )
                if key is None:
                    tensors, header = read_tensors(file, os.fstat(file.fileno()).st_size)
                else:
                    tensors, header = read_tensors(open_sealed(file, key))
        except SealError as error:
            raise SnapshotError(f"the snapshot {path} cannot be opened: {error}") from error
        except (OSError, ValueError) as error:
            raise SnapshotError(
                f"{path} cannot be read as a snapshot: {_reason(error)}; expected a whole file that Snapshot.save wrote"
            ) from error
        return Snapshot._of(path, tensors, header)

    @staticmethod
    def _of(path: str | Path, tensors: dict[str, torch.Tensor], header: Mapping[str, str]) -> Snapshot:
        if header.get("format") != _FORMAT:
            raise SnapshotError(f"{path} is no snapshot of hermes-stream; expected what Snapshot.save wrote")
        if header.get("version") != _VERSION:
            raise SnapshotError(
                f"{path} is a snapshot of version {header.get('version')}, this hermes-stream reads version "
                f"{_VERSION}; restore it with the one that wrote it"
            )
        structure = header.get("structure", "")
        digest = _Digest(structure)
        for name, tensor in sorted(tensors.items()):
            digest.add(name, tensor)
        if header.get("digest") != digest.text:
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


class _Digest:
    """SHA-256 over a structure and the bytes of every tensor, by name."""

    def __init__(self, structure: str) -> None:
        self._sum = hashlib.sha256(structure.encode())

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """The next tensor in the order of names."""
        self._sum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        self._sum.update(raw_bytes(tensor))

    @property
    def text(self) -> str:
        return self._sum.hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
