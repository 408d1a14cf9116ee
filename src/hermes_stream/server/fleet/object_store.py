"""Stores at other addresses, through fsspec: s3://, gs://, abfs:// and what else can create a file exclusively."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

from hermes_stream.errors import ConfigError, StoreError
from hermes_stream.server.fleet.store import FolderStore, Store


def open_store(address: str) -> Store:
    """The store at a folder's path or at an address that fsspec knows.

    Raises ConfigError for one that cannot be used, or whose claims two servers could both win.
    """
    if "://" not in address:
        return FolderStore(Path(address))
    try:
        files, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(f"the shared store {address} cannot be used: {error}") from error
    if fsspec.utils.get_protocol(address) in ("file", "local"):
        return FolderStore(Path(root))
    if not _creates_exclusively(files):
        raise ConfigError(
            f"{address}: its fsspec file system cannot create a file exclusively, so two servers could own one "
            "session; give a folder, or an object store with conditional writes, as s3:// and gs:// have"
        )
    return ObjectStore(files, root.rstrip("/"))


def _creates_exclusively(files: Any) -> bool:
    """Whether a file system's own `pipe_file` knows `mode`: the inherited one looks first and writes then."""
    name = "_pipe_file" if files.async_impl else "pipe_file"
    own = getattr(type(files), name)
    is_inherited = own is getattr(AbstractFileSystem, name, None)
    return not is_inherited and "mode" in inspect.signature(own).parameters


class ObjectStore:
    """Files of an fsspec file system; no listing of it is remembered."""

    def __init__(self, files: Any, root: str) -> None:
        self._files, self._root = files, root

    def create(self, name: str, data: bytes) -> bool:
        with _told(name):
            try:
                self._files.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
            return True

    def write(self, name: str, data: bytes) -> None:
        with _told(name):
            self._files.pipe_file(self._at(name), data)

    def read(self, name: str) -> bytes | None:
        with _told(name):
            try:
                data: bytes = self._files.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return data

    def names(self, folder: str) -> list[str]:
        with _told(folder):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
            # Some list the folder itself, an empty object with its name.
            return [
                name for path in found if (name := path.rstrip("/").rpartition("/")[2]) != folder.rpartition("/")[2]
            ]

    def remove(self, name: str) -> None:
        with _told(name):
            self._files.invalidate_cache()
            try:
                self._files.rm(self._at(name), recursive=True)
            except FileNotFoundError:
                return

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="hermes-stream-") as folder:
            yield Path(folder)

    def put(self, file: Path, name: str) -> None:
        with _told(name):
            self._files.put_file(str(file), self._at(name))
            file.unlink()

    @contextmanager
    def fetch(self, name: str) -> Iterator[Path]:
        with self.scratch() as folder:
            target = folder / name.rpartition("/")[2]
            with _told(name):
                self._files.get_file(self._at(name), str(target))
            yield target

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise StoreError(f"the shared store cannot be used ({name}: {error})") from error
