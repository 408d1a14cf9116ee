"""Checkpoints and identities of sessions in a store that several servers share; only a session's owner writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from hermes_stream.errors import LeaseLost, SealError, SnapshotError
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server.fleet.lease import Commit, Leases
from hermes_stream.server.fleet.store import Store
from hermes_stream.server.live_session import Identity
from hermes_stream.server.settings import SessionSpec
from hermes_stream.server.state.checkpoints import (
    PARTS,
    Checkpoint,
    Saved,
    read_checkpoint,
    surplus,
    write_checkpoint,
)


@dataclass(frozen=True, slots=True)
class Held:
    """A session that is owned here. commits: its checkpoints, oldest first; nobody else adds to them."""

    fence: int
    commits: list[Commit]


class SharedCheckpoints:
    """As `Checkpoints` asks for it; raises StoreError too. held: by name, sessions that are owned here.

    lost: names of sessions that turned out to be owned elsewhere; whoever finds them takes them out.
    """

    is_shared = True

    def __init__(self, store: Store, leases: Leases, key: bytes | None = None) -> None:
        self._store, self._leases, self._key = store, leases, key
        self.held: dict[str, Held] = {}
        self.lost: set[str] = set()

    def begin(self, identity: Identity) -> bool:
        """Write down who a new session is; False where there is one of that name."""
        record = {
            "spec": identity.spec.model_dump(exclude_none=True),
            "owner": identity.owner,
            "created_s": identity.created_seconds,
        }
        return self._store.create(_identity(identity.name), self._sealed(json.dumps(record).encode()))

    def identity(self, name: str) -> Identity | None:
        """Who a session is; None where there is none. Raises SnapshotError if it cannot be read."""
        data = self._store.read(_identity(name))
        if data is None:
            return None
        try:
            record = json.loads(data if self._key is None else open_sealed_bytes(data, self._key))
            spec = SessionSpec.model_validate(record["spec"])
            return Identity(name, spec, record["owner"], record["created_s"])
        except (SealError, ValueError) as error:
            raise SnapshotError(f"session {name} cannot be read: {error}; was it written with another key?") from error

    def hold(self, name: str, fence: int) -> None:
        """This server owns a session from now on. What owners before left unfinished, or wrote too late, goes."""
        commits = self._leases.commits(name)
        stems = {each.removesuffix(".commit") for each in self._store.names(f"sessions/{name}/checkpoints")}
        for stem in stems - {commit.stem for commit in commits}:
            self._remove(f"sessions/{name}/checkpoints/{stem}")
        self.held[name] = Held(fence, commits)

    def save(self, name: str, checkpoint: Checkpoint, time_seconds: float) -> Saved:
        """Write a checkpoint behind the others. Raises LeaseLost where another server owns the session."""
        held = self._held(name)
        number = max((commit.number for commit in held.commits), default=0) + 1
        commit = Commit(held.fence, number, round(time_seconds, 3))
        with self._store.scratch() as folder, self._noting_loss(name):
            n_bytes = write_checkpoint(folder, checkpoint, self._key)
            for part in PARTS:
                self._store.put(folder / part, f"{_folder(name, commit)}/{part}")
            self._leases.commit(name, commit)
            held.commits.append(commit)
        return Saved(Path(_folder(name, commit)), number, commit.time_seconds, n_bytes)

    def saved(self, name: str) -> list[Saved]:
        """None of a session that is not owned here."""
        held = self.held.get(name)
        return [] if held is None else [_saved(name, commit) for commit in held.commits]

    def load(self, saved: Saved) -> Checkpoint:
        with ExitStack() as fetched:

            def find(part: str) -> Path:
                return fetched.enter_context(self._store.fetch(f"{saved.path.as_posix()}/{part}"))

            return read_checkpoint(find, self._key)

    def thin(self, name: str, n_older: int) -> None:
        self._drop(name, surplus(self.saved(name), n_older))

    def drop_since(self, name: str, time_seconds: float) -> int:
        gone = [saved for saved in self.saved(name) if saved.time_seconds >= time_seconds]
        self._drop(name, gone)
        return len(gone)

    def drop(self, name: str) -> None:
        """First its identity: from then on nobody finds the session."""
        self._held(name)
        self._store.remove(_identity(name))
        self._store.remove(f"sessions/{name}")
        self.held.pop(name, None)

    def close(self) -> None:
        return

    def _held(self, name: str) -> Held:
        held = self.held.get(name)
        if held is None:
            self.lost.add(name)
            raise LeaseLost(f"session {name} is not owned here any more; ask again")
        return held

    @contextmanager
    def _noting_loss(self, name: str) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            self.held.pop(name, None)
            self.lost.add(name)
            raise

    def _drop(self, name: str, gone: list[Saved]) -> None:
        numbers, commits = {saved.number for saved in gone}, self._held(name).commits
        commits[:] = [commit for commit in commits if commit.number not in numbers]
        for saved in gone:
            self._remove(saved.path.as_posix())

    def _remove(self, place: str) -> None:
        """First what makes it count."""
        self._store.remove(f"{place}.commit")
        self._store.remove(place)

    def _sealed(self, data: bytes) -> bytes:
        return data if self._key is None else seal_bytes(data, self._key)


def _saved(name: str, commit: Commit) -> Saved:
    return Saved(Path(_folder(name, commit)), commit.number, commit.time_seconds)


def _folder(name: str, commit: Commit) -> str:
    return f"sessions/{name}/checkpoints/{commit.stem}"


def _identity(name: str) -> str:
    return f"sessions/{name}/identity.json"
