"""Files that several servers share: what is asked of a store, and a folder as one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from hermes_stream.errors import ConfigError, StoreError

_DAY_SECONDS = 86_400.0


class Store(Protocol):
    """Names are paths with `/` below the store's root. Everything may block, and is safe to use from several threads.

    What was written is seen by everybody who reads or lists after that, and is seen as a whole or not at all.
    Raises StoreError where the store cannot be reached.
    """

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that is not there; of many who try at once, one is told True."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whether it is there or not."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's contents; None where there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Files and folders in a folder, without their path; none where there is no folder."""
        ...

    def remove(self, name: str) -> None:
        """A file or a folder goes with all that is in it, if it is there."""
        ...

    def scratch(self) -> AbstractContextManager[Path]:
        """A folder of this machine for a file on its way in or out."""
        ...

    def put(self, file: Path, name: str) -> None:
        """Move a file of this machine into the store."""
        ...

    def fetch(self, name: str) -> AbstractContextManager[Path]:
        """A file of the store as one of this machine, to be read only. Raises FileNotFoundError."""
        ...


class FolderStore:
    """A folder, on this machine or one that several mount; the file system must know hard links."""

    def __init__(self, root: Path) -> None:
        """Raises ConfigError if the folder cannot be used."""
        self._root, self._scratch = root, root / "scratch"
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            root.chmod(0o700)
        except OSError as error:
            raise ConfigError(f"the shared folder {root} cannot be used: {error.strerror}") from error
        self._sweep()

    def create(self, name: str, data: bytes) -> bool:
        """A link is made to a whole file, which either succeeds or finds that there is one already."""
        with _told(name), self.scratch() as folder:
            whole = _written(folder / "file", data)
            try:
                os.link(whole, self._path_to(name))
            except FileExistsError:
                return False
            return True

    def write(self, name: str, data: bytes) -> None:
        with _told(name), self.scratch() as folder:
            _written(folder / "file", data).replace(self._path_to(name))

    def read(self, name: str) -> bytes | None:
        with _told(name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        with _told(folder):
            try:
                return os.listdir(self._root / folder)
            except FileNotFoundError:
                return []

    def remove(self, name: str) -> None:
        with _told(name):
            path = self._root / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            yield Path(folder)

    def put(self, file: Path, name: str) -> None:
        with _told(name):
            _sync(file)
            file.replace(self._path_to(name))

    @contextmanager
    def fetch(self, name: str) -> Iterator[Path]:
        yield self._root / name

    def _sweep(self) -> None:
        """What servers that were killed left on its way, long enough ago to be nobody's any more."""
        for path in self._scratch.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _DAY_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _path_to(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the shared store cannot be used ({name}: {error.strerror or error}); is it mounted?"
        ) from error


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    _sync(path)
    return path


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
