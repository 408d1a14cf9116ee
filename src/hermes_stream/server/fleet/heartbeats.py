"""Which servers of a fleet live: each counts up in a file of its own, and the others watch by their own clocks.

    replicas/NAME.json    {"n": 17, "is_leaving": false, "watching": ["ID", ...]}

No two clocks are compared: a server is dead for another one whose clock has gone on by the time to live while the
count has stood still. One that could not write for half of that serves no more, so it has stopped before anybody else
takes its sessions.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes_stream.errors import ConfigError
from hermes_stream.server.fleet.store import Store

_FOLDER = "replicas"


@dataclass(frozen=True, slots=True)
class Beat:
    """What a server last said. watching: sessions whose sources it pulls, or pulled when it left."""

    number: int
    is_leaving: bool
    watching: tuple[str, ...]


class Heartbeats:
    """One server's beat, and what it knows of the others. `beat` and `look` block; everything else does not."""

    def __init__(
        self, store: Store, name: str, ttl_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._name, self._ttl_seconds, self._clock = store, name, ttl_seconds, clock
        self._number = 0
        self._beaten_at = -float("inf")
        self._seen: dict[str, tuple[Beat, float]] = {}
        self._looking = threading.Lock()

    def join(self) -> None:
        """Begin. Raises ConfigError for a store in which two can create the same file, StoreError for none."""
        beat = _packed(Beat(0, False, ()))
        if not self._store.create(self._file, beat) or self._store.create(self._file, beat):
            raise ConfigError("the shared store does not create files exclusively; use a folder, or one that does")
        self.beat(())

    def beat(self, watching: Sequence[str], *, is_leaving: bool = False) -> None:
        """Show that this server lives, or that it does not any more."""
        began = self._clock()
        self._number += 1
        self._store.write(self._file, _packed(Beat(self._number, is_leaving, tuple(watching))))
        self._beaten_at = began

    def look(self) -> None:
        """See what the others have said. One after the other: an earlier look must not undo a later one."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        beats = {}
        for file in self._store.names(_FOLDER):
            name = file.removesuffix(".json")
            data = None if name == self._name else self._store.read(f"{_FOLDER}/{file}")
            if data is not None:
                beats[name] = _unpacked(data)
        now = self._clock()
        self._seen = {
            name: (beat, self._seen[name][1] if name in self._seen and self._seen[name][0] == beat else now)
            for name, beat in beats.items()
        }

    def remove(self, name: str) -> None:
        """A dead server's file goes; nothing is left of it to be taken over. Blocks."""
        self._store.remove(f"{_FOLDER}/{name}.json")

    @property
    def is_sure(self) -> bool:
        """Whether nobody can have judged this server dead."""
        return self._clock() - self._beaten_at < self._ttl_seconds / 2

    def is_dead(self, name: str) -> bool:
        """Whether a server has gone, said so, or not been heard for too long, as of the last look."""
        if name == self._name:
            return False
        if name not in self._seen:
            return True
        beat, at = self._seen[name]
        return beat.is_leaving or self._clock() - at >= self._ttl_seconds

    def alive(self) -> list[str]:
        """This server and the others that live."""
        return sorted([self._name, *(name for name in self._seen if not self.is_dead(name))])

    def dead(self) -> dict[str, tuple[Beat, float]]:
        """What dead servers said last, and how many seconds ago that was heard first."""
        now = self._clock()
        return {name: (beat, now - at) for name, (beat, at) in self._seen.items() if self.is_dead(name)}

    @property
    def _file(self) -> str:
        return f"{_FOLDER}/{self._name}.json"


def _packed(beat: Beat) -> bytes:
    fields = {"n": beat.number, "is_leaving": beat.is_leaving, "watching": beat.watching}
    return json.dumps(fields).encode()


def _unpacked(data: bytes) -> Beat:
    fields = json.loads(data)
    return Beat(fields["n"], fields["is_leaving"], tuple(fields["watching"]))
