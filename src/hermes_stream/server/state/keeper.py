"""Saves sessions and finds them again: what a restart, wanted or not, does not take away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from hermes_stream.errors import SnapshotError
from hermes_stream.server.live_session import Identity, LiveSession
from hermes_stream.server.observe.logs import about_session
from hermes_stream.server.settings import SessionSpec
from hermes_stream.server.state.checkpoints import Checkpoint, Checkpoints, Saved
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.thumbnails import Thumbnails

_log = logging.getLogger(__name__)


class Keeper:
    """Which sessions there are stands in the journal, what they remember in the state folder, if there is one.

    Where several servers share that, a session's journal stands in its checkpoints too.
    on_save: told how many seconds each save took, or None of one that failed.
    """

    def __init__(self, journal: Journal, folder: Checkpoints | None, *, n_older: int) -> None:
        """n_older: checkpoints of a session that stay beside the newest."""
        self._journal, self.folder, self._n_older = journal, folder, n_older
        self.on_save: list[Callable[[float | None], None]] = []
        self._locks: dict[str, asyncio.Lock] = {}
        # What a session had seen and heard when it was saved last.
        self._saved: dict[str, tuple[Any, ...]] = {}

    def begin(self, identity: Identity) -> None:
        """A session is there: from now on a restart brings it back, if it is one to be kept."""
        if not identity.is_kept:
            return
        record = {
            "spec": identity.spec.model_dump(exclude_none=True),
            "owner": identity.owner,
            "created_s": identity.created_seconds,
        }
        self._journal.put("session", identity.name, identity.name, record)

    def known(self) -> Iterator[Identity]:
        """Every session that began and was not closed for good."""
        for name, record in self._journal.records("session").items():
            spec = SessionSpec.model_validate(record["spec"])
            yield Identity(name, spec, record["owner"], record["created_s"])

    def sweep(self) -> None:
        """Delete what a process that was killed left of sessions that are not kept."""
        self._journal.drop_all_but(self._journal.records("session"))

    async def save(self, live: LiveSession, *, even_unchanged: bool = False) -> Saved | None:
        """Save a session that has changed; None where nothing has, or nothing is kept."""
        folder = self.folder
        if folder is None or not live.identity.is_kept:
            return None
        async with self._locks.setdefault(live.name, asyncio.Lock()):
            n_written = self._journal.n_written(live.name) if folder.is_shared else 0
            state = (live.session.memory.number, len(live.session.stats.gaps), live.origin_seconds, n_written)
            if self._saved.get(live.name) == state and not even_unchanged:
                return None
            began, seconds = time.perf_counter(), None
            try:
                with about_session(live.name):
                    saved = await asyncio.to_thread(_save, folder, live)
                    await asyncio.to_thread(folder.thin, live.name, self._n_older)
                seconds = time.perf_counter() - began
            finally:
                for tell in self.on_save:
                    tell(seconds)
            self._saved[live.name] = state
            return saved

    def newest(self, name: str) -> Checkpoint | None:
        """The newest checkpoint that can be read; None where a session was never saved.

        Raises SnapshotError if there are some and none can be read.
        """
        failure: SnapshotError | None = None
        for saved in reversed(self.folder.saved(name) if self.folder else []):
            assert self.folder is not None
            try:
                return self.folder.load(saved)
            except SnapshotError as error:
                _log.error("a checkpoint is left out: %s", error, extra={"session": name})
                failure = failure or error
        if failure is not None:
            raise failure
        return None

    def forget(self, name: str) -> None:
        """Nothing of a session stays."""
        self.let_go(name)
        if self.folder is not None:
            self.folder.drop(name)

    def let_go(self, name: str) -> None:
        """Nothing of a session stays here; its checkpoints do."""
        self._journal.drop(name)
        self._locks.pop(name, None)
        self._saved.pop(name, None)


def _save(folder: Checkpoints, live: LiveSession) -> Saved:
    """On a thread. The pictures are taken after the memory: those of frames that it holds are among them."""
    # Before the memory: no entry is of a time that the checkpoint does not know, and forgetting finds it by its time.
    journal = {"journal": live.journal.export(live.name)} if folder.is_shared else {}
    time_seconds = live.session.stats.time_seconds
    snapshot = live.session.snapshot()
    thumbnails = Thumbnails.from_bytes(live.thumbnails.to_bytes())
    about = {"origin_s": live.origin_seconds, **journal}
    return folder.save(live.name, Checkpoint(snapshot, thumbnails, about), time_seconds)
