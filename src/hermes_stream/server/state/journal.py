"""What happened, in SQLite: questions, answers, alerts, gaps, each with its time in the stream; and small records."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream.errors import ConfigError, SealError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL, kind TEXT NOT NULL, time_s REAL, wall_s REAL NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_session ON events (session, number);
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, session TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, id)
);
"""
_FORMAT = 1
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened. time_seconds: in the stream, None where it has none. wall_seconds: since 1970."""

    number: int
    session: str
    kind: str
    time_seconds: float | None
    wall_seconds: float
    data: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As the API gives it."""
        return {
            "number": self.number,
            "kind": self.kind,
            "time_s": self.time_seconds,
            "wall_s": round(self.wall_seconds, 3),
            **self.data,
        }


class Journal:
    """The server's diary and its small records; safe to use from several threads, committed at once.

    seal, unseal: what turns the contents of entries into what stands in the file, and back; times stay legible.
    is_shared: entries may come from other servers with their sessions; numbers are then microseconds since 1970, so
    that they stay as they are and still rise.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        seal: Callable[[bytes], bytes] = bytes,
        unseal: Callable[[bytes], bytes] = bytes,
        is_shared: bool = False,
    ) -> None:
        """path: of the file; None keeps it in memory. Raises ConfigError for another file, or with another key."""
        # Taken again within `together`.
        self._lock = threading.RLock()
        self._seal, self._unseal, self._is_shared = seal, unseal, is_shared
        self._n_written: Counter[str] = Counter()
        try:
            self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            # A killed process loses nothing that was committed; a power cut may lose the last moments, not the file.
            self._database.execute("PRAGMA synchronous=NORMAL")
            # What is deleted must be gone from the file as well.
            self._database.execute("PRAGMA secure_delete=ON")
            self._check_format(path)
            self._database.executescript(_SCHEMA)
            self._check_key(path)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path} is no journal of hermes-stream ({error}); give another state folder") from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written within is there as a whole or not at all; other threads wait meanwhile."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def add(self, session: str, kind: str, time_seconds: float | None, data: dict[str, Any]) -> Entry:
        """Write an entry down."""
        wall_seconds = time.time()
        with self._lock:
            number = self._next_number(session, wall_seconds) if self._is_shared else None
            cursor = self._database.execute(
                "INSERT INTO events (number, session, kind, time_s, wall_s, data) VALUES (?, ?, ?, ?, ?, ?)",
                (number, session, kind, time_seconds, wall_seconds, self._packed(data)),
            )
            self._n_written[session] += 1
        assert cursor.lastrowid is not None
        return Entry(cursor.lastrowid, session, kind, time_seconds, wall_seconds, data)

    def n_written(self, session: str) -> int:
        """Grows whenever something of a session is written or deleted."""
        return self._n_written[session]

    def export(self, session: str) -> dict[str, Any]:
        """All that is known of a session, as JSON, for another journal."""
        with self._lock:
            entries = self._database.execute(
                "SELECT number, kind, time_s, wall_s, data FROM events WHERE session = ? ORDER BY number", (session,)
            ).fetchall()
            records = self._database.execute(
                "SELECT kind, id, data FROM records WHERE session = ? ORDER BY rowid", (session,)
            ).fetchall()
        return {
            "entries": [[*row[:-1], self._unpacked(row[-1])] for row in entries],
            "records": [[*row[:-1], self._unpacked(row[-1])] for row in records],
        }

    def take_in(self, session: str, exported: dict[str, Any]) -> None:
        """Know of a session what another journal exported, and nothing else."""
        with self.together():
            self._database.execute("DELETE FROM events WHERE session = ?", (session,))
            self._database.execute("DELETE FROM records WHERE session = ?", (session,))
            newest = 0
            for number, kind, time_s, wall_s, data in exported["entries"]:
                newest = self._free_number(number, newest)
                self._database.execute(
                    "INSERT INTO events (number, session, kind, time_s, wall_s, data) VALUES (?, ?, ?, ?, ?, ?)",
                    (newest, session, kind, time_s, wall_s, self._packed(data)),
                )
            for kind, name, data in exported["records"]:
                self.put(kind, name, session, data)

    def entries(
        self, session: str, *, after: int = 0, kinds: Collection[str] = (), most: int = 1000, newest: bool = False
    ) -> list[Entry]:
        """Entries of a session in their order. after: the number of the last one known. newest: the last ones, if more
        than `most` would fit.
        """
        marks = ", ".join("?" * len(kinds))
        of_kind = f"AND kind IN ({marks})" if kinds else ""
        order = "DESC" if newest else "ASC"
        with self._lock:
            rows = self._database.execute(
                "SELECT number, session, kind, time_s, wall_s, data FROM events "
                f"WHERE session = ? AND number > ? {of_kind} ORDER BY number {order} LIMIT ?",
                (session, after, *kinds, most),
            ).fetchall()
        entries = [
            Entry(number, of_session, kind, time_s, wall_s, self._unpacked(data))
            for number, of_session, kind, time_s, wall_s, data in rows
        ]
        return entries[::-1] if newest else entries

    def forget(self, session: str, start_seconds: float, end_seconds: float) -> int:
        """Delete the entries of a time range of the stream; returns how many these were."""
        with self._lock:
            cursor = self._database.execute(
                "DELETE FROM events WHERE session = ? AND time_s >= ? AND time_s < ?",
                (session, start_seconds, end_seconds),
            )
            self._n_written[session] += 1
            self._checkpoint()
        return cursor.rowcount

    def put(self, kind: str, name: str, session: str, data: dict[str, Any]) -> None:
        """Keep a record under its kind and name; one of before is replaced."""
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO records (kind, id, session, data) VALUES (?, ?, ?, ?)",
                (kind, name, session, self._packed(data)),
            )
            self._n_written[session] += 1

    def records(self, kind: str, session: str | None = None) -> dict[str, dict[str, Any]]:
        """Records of a kind by name, of one session or of all."""
        of_session, arguments = ("", (kind,)) if session is None else ("AND session = ?", (kind, session))
        with self._lock:
            rows = self._database.execute(
                f"SELECT id, data FROM records WHERE kind = ? {of_session} ORDER BY rowid", arguments
            ).fetchall()
        return {name: self._unpacked(data) for name, data in rows}

    def record(self, kind: str, name: str) -> dict[str, Any] | None:
        """One record, or None."""
        with self._lock:
            row = self._database.execute("SELECT data FROM records WHERE kind = ? AND id = ?", (kind, name)).fetchone()
        return None if row is None else self._unpacked(row[0])

    def remove(self, kind: str, name: str) -> None:
        """A record goes, if there is one."""
        with self._lock:
            gone = self._database.execute(
                "DELETE FROM records WHERE kind = ? AND id = ? RETURNING session", (kind, name)
            ).fetchall()
            self._n_written.update(session for (session,) in gone)

    def drop(self, session: str) -> None:
        """Everything of a session goes."""
        with self._lock:
            self._database.execute("DELETE FROM events WHERE session = ?", (session,))
            self._database.execute("DELETE FROM records WHERE session = ?", (session,))
            self._checkpoint()

    def drop_all_but(self, sessions: Collection[str]) -> None:
        """Everything of all other sessions goes."""
        with self._lock:
            known = self._database.execute("SELECT session FROM events UNION SELECT session FROM records").fetchall()
        for (session,) in known:
            if session not in sessions:
                self.drop(session)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _check_format(self, path: Path | None) -> None:
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            raise ConfigError(
                f"{path} is the journal of another hermes-stream (format {found}, this one writes {_FORMAT}); "
                "start the version that wrote it, or give another state folder"
            )
        self._database.execute(f"PRAGMA user_version={_FORMAT}")

    def _check_key(self, path: Path | None) -> None:
        found = self._database.execute("SELECT data FROM records LIMIT 1").fetchone()
        try:
            if found is not None:
                self._unpacked(found[0])
        except (SealError, ValueError) as error:
            raise ConfigError(
                f"{path} was written with another key, or without one; start with the key of then"
            ) from error

    def _next_number(self, session: str, wall_seconds: float) -> int:
        row = self._database.execute("SELECT max(number) FROM events WHERE session = ?", (session,)).fetchone()
        return self._free_number(int(wall_seconds * _MICRO), row[0] or 0)

    def _free_number(self, wanted: int, newest: int) -> int:
        """The first one from what is wanted that no entry of any session has, behind the newest of its own."""
        number = max(wanted, newest + 1)
        while self._database.execute("SELECT 1 FROM events WHERE number = ?", (number,)).fetchone():
            number += 1
        return number

    def _checkpoint(self) -> None:
        """Deleted rows also stand in the write-ahead log until it is written back and cut."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _packed(self, data: dict[str, Any]) -> bytes:
        return self._seal(json.dumps(data, ensure_ascii=False).encode())

    def _unpacked(self, data: bytes) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self._unseal(data))
        return values
