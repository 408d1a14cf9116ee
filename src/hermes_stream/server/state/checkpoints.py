"""What is kept of a session at one moment, and what is asked of a place that keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

from hermes_stream.errors import SealError, SnapshotError
from hermes_stream.memory.snapshot import Snapshot
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server.state.thumbnails import Thumbnails

_MEMORY, _PICTURES, _ABOUT = "memory.safetensors", "thumbnails.zip", "session.json"
PARTS = (_MEMORY, _PICTURES, _ABOUT)
_SHORTEST_AGE_SECONDS = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A session at one moment. about: JSON, what the server knows of it beside its memory."""

    snapshot: Snapshot
    thumbnails: Thumbnails
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a checkpoint lies. time_seconds: of the session's newest frame then. n_bytes: 0 unless just written."""

    path: Path
    number: int
    time_seconds: float
    n_bytes: int = 0


class Checkpoints(Protocol):
    """A place for checkpoints; everything here may block.

    is_shared: whether several servers use it, so that a session's journal has to go with its memory.
    """

    is_shared: bool

    def save(self, name: str, checkpoint: Checkpoint, time_seconds: float) -> Saved:
        """Write a checkpoint behind the others. Raises SnapshotError if it cannot be written."""
        ...

    def saved(self, name: str) -> list[Saved]:
        """The checkpoints of a session, oldest first."""
        ...

    def load(self, saved: Saved) -> Checkpoint:
        """Read a checkpoint. Raises SnapshotError if it is damaged, or sealed with another key."""
        ...

    def thin(self, name: str, n_older: int) -> None:
        """Keep the newest checkpoint, and so many older ones, spread over the stream's time."""
        ...

    def drop_since(self, name: str, time_seconds: float) -> int:
        """Delete the checkpoints that know of this time; returns how many these were."""
        ...

    def drop(self, name: str) -> None:
        """Everything of a session goes."""
        ...

    def close(self) -> None:
        """Somebody else may use the place."""
        ...


def write_checkpoint(folder: Path, checkpoint: Checkpoint, key: bytes | None) -> int:
    """Write the parts of a checkpoint into a folder; returns their bytes. key: under which they are sealed."""
    checkpoint.snapshot.save(folder / _MEMORY, key=key)
    _write(folder / _PICTURES, checkpoint.thumbnails.to_bytes(), key)
    _write(folder / _ABOUT, json.dumps(checkpoint.about, indent=1).encode(), key)
    return sum((folder / part).stat().st_size for part in PARTS)


def read_checkpoint(find: Callable[[str], Path], key: bytes | None) -> Checkpoint:
    """What `write_checkpoint` wrote. find: the file of a part.

    Raises SnapshotError if it is damaged, or sealed with another key.
    """
    try:
        snapshot = Snapshot.load(find(_MEMORY), key=key)
        thumbnails = Thumbnails.from_bytes(_read(find(_PICTURES), key))
        about = json.loads(_read(find(_ABOUT), key))
    except (OSError, ValueError, KeyError, BadZipFile, SealError) as error:
        raise SnapshotError(f"a checkpoint is damaged: {error}") from error
    return Checkpoint(snapshot, thumbnails, about)


def _write(path: Path, data: bytes, key: bytes | None) -> None:
    with path.open("wb") as file:
        file.write(data if key is None else seal_bytes(data, key))
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, key: bytes | None) -> bytes:
    data = path.read_bytes()
    return data if key is None else open_sealed_bytes(data, key)


def surplus(saved: Sequence[Saved], n_older: int) -> list[Saved]:
    """Which of the checkpoints, oldest first, may go, so that the newest and so many older ones stay."""
    kept, gone = list(saved), []
    while len(kept) - 1 > n_older:
        least = least_missed(kept) if n_older > 1 else kept[0]
        kept.remove(least)
        gone.append(least)
    return gone


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
