"""The state folder: what a server needs to go on after it was killed.

    journal.sqlite               what happened, which sessions there are
    sessions/ID/NUMBER-TIME/     a session as it was once: session.json, memory.safetensors, thumbnails.zip

A checkpoint is written beside its place and moved there as a whole, so that there is never half of one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hermes_stream.errors import ConfigError, SnapshotError
from hermes_stream.server.state.checkpoints import Checkpoint, Saved, read_checkpoint, surplus, write_checkpoint

_UNFINISHED = ".unfinished"


class StateFolder:
    """Reads and writes checkpoints; one server at a time."""

    is_shared = False

    def __init__(self, root: Path, key: bytes | None = None) -> None:
        """Raises ConfigError if the folder cannot be used, or another server uses it."""
        self._root, self._key = root, key
        try:
            (root / "sessions").mkdir(parents=True, exist_ok=True)
            root.chmod(0o700)
            self._lock: IO[str] = (root / "lock").open("w")
        except OSError as error:
            raise ConfigError(f"the state folder {root} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError(f"the state folder {root} is used by another server; give each one its own") from error

    @property
    def journal_path(self) -> Path:
        return self._root / "journal.sqlite"

    def save(self, name: str, checkpoint: Checkpoint, time_seconds: float) -> Saved:
        """Write a checkpoint behind the others. Raises SnapshotError if it cannot be written."""
        folder = self._folder(name)
        number = max((saved.number for saved in self.saved(name)), default=0) + 1
        place = folder / f"{number:08d}-{time_seconds:.3f}"
        unfinished = place.with_name(place.name + _UNFINISHED)
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            n_bytes = write_checkpoint(unfinished, checkpoint, self._key)
            unfinished.rename(place)
            _sync_folder(folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise SnapshotError(f"session {name} cannot be saved in {self._root}: {error.strerror}") from error
        return Saved(place, number, time_seconds, n_bytes)

    def saved(self, name: str) -> list[Saved]:
        """The checkpoints of a session, oldest first."""
        return sorted(_whole(self._folder(name)), key=lambda saved: saved.number)

    def load(self, saved: Saved) -> Checkpoint:
        """Read a checkpoint. Raises SnapshotError if it is damaged, or sealed with another key."""
        return read_checkpoint(lambda part: saved.path / part, self._key)

    def thin(self, name: str, n_older: int) -> None:
        """Keep the newest checkpoint, and so many older ones, spread over the stream's time."""
        for gone in surplus(self.saved(name), n_older):
            shutil.rmtree(gone.path, ignore_errors=True)

    def drop_since(self, name: str, time_seconds: float) -> int:
        """Delete the checkpoints that know of this time; returns how many these were."""
        gone = [saved for saved in self.saved(name) if saved.time_seconds >= time_seconds]
        for saved in gone:
            shutil.rmtree(saved.path)
        return len(gone)

    def drop(self, name: str) -> None:
        """Everything of a session goes."""
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def close(self) -> None:
        self._lock.close()

    def _folder(self, name: str) -> Path:
        return self._root / "sessions" / name


def _whole(folder: Path) -> Iterator[Saved]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        number, _, time_text = path.name.partition("-")
        if path.is_dir() and not path.name.endswith(_UNFINISHED) and number.isdecimal():
            yield Saved(path, int(number), float(time_text))


def _sync_folder(path: Path) -> None:
    """A name in a folder lasts over a power cut once the folder itself was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
