"""The state folder: what a server needs to go on after it was killed.

    journal.sqlite               what happened, which sessions there are
    sessions/ID/NUMBER-TIME/     a session as it was once: session.json, memory.safetensors, thumbnails.zip

A checkpoint is written beside its place and moved there as a whole, so that there is never half of one.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

from hermes_stream.errors import ConfigError, SealError, SnapshotError
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server.state.thumbnails import Thumbnails

_log = logging.getLogger(__name__)
_UNFINISHED = ".unfinished"
_SHORTEST_AGE_SECONDS = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A session at one moment. about: JSON, what the server knows of it beside its memory."""

    snapshot: Snapshot
    thumbnails: Thumbnails
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a checkpoint lies. time_seconds: of the session's newest frame then."""

    path: Path
    number: int
    time_seconds: float


class StateFolder:
    """Reads and writes checkpoints; one server at a time."""

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
            checkpoint.snapshot.save(unfinished / "memory.safetensors", key=self._key)
            self._write(unfinished / "thumbnails.zip", checkpoint.thumbnails.to_bytes())
            self._write(unfinished / "session.json", json.dumps(checkpoint.about, indent=1).encode())
            unfinished.rename(place)
            _sync_folder(folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise SnapshotError(f"session {name} cannot be saved in {self._root}: {error.strerror}") from error
        return Saved(place, number, time_seconds)

    def saved(self, name: str) -> list[Saved]:
        """The checkpoints of a session, oldest first."""
        return sorted(_whole(self._folder(name)), key=lambda saved: saved.number)

    def load(self, saved: Saved) -> Checkpoint:
        """Read a checkpoint. Raises SnapshotError if it is damaged, or sealed with another key."""
        snapshot = Snapshot.load(saved.path / "memory.safetensors", key=self._key)
        try:
            thumbnails = Thumbnails.from_bytes(self._read(saved.path / "thumbnails.zip"))
            about = json.loads(self._read(saved.path / "session.json"))
        except (OSError, ValueError, KeyError, BadZipFile, SealError) as error:
            raise SnapshotError(f"{saved.path} is damaged: {error}") from error
        return Checkpoint(snapshot, thumbnails, about)

    def thin(self, name: str, n_older: int) -> None:
        """Keep the newest checkpoint, and so many older ones, spread over the stream's time."""
        kept = self.saved(name)
        while len(kept) - 1 > n_older:
            gone = least_missed(kept) if n_older > 1 else kept[0]
            kept.remove(gone)
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

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data if self._key is None else seal_bytes(data, self._key))
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> bytes:
        data = path.read_bytes()
        return data if self._key is None else open_sealed_bytes(data, self._key)


def least_missed(saved: Sequence[Saved]) -> Saved:
    """Which of the checkpoints, oldest first, may go; never the oldest and the newest. At least three.

    The one between whose neighbours ages differ by the smallest factor: in the end ages form a geometric series.
    """
    newest_seconds = saved[-1].time_seconds
    # Ages of less than the newest interval are all the same.
    interval_seconds = newest_seconds - saved[-2].time_seconds
    ages = [newest_seconds - each.time_seconds + interval_seconds for each in saved]
    inner = range(1, len(saved) - 1)
    return saved[min(inner, key=lambda index: ages[index - 1] / max(ages[index + 1], _SHORTEST_AGE_SECONDS))]


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
