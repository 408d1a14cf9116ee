"""Who owns a session: claims with a fencing number, so that of two owners only the later one is ever read.

    sessions/ID/leases/FENCE-claim           who holds it from this fence on
    sessions/ID/leases/FENCE-released        the holder has saved it and let it go
    sessions/ID/leases/FENCE-base-F-N        this fence goes on behind checkpoint N of fence F; what else came before it
                                             is of an owner that was too late
    sessions/ID/checkpoints/FENCE-NUMBER-TIME.commit    a checkpoint that is whole

A claim is won by creating a file that is not there. The winner then looks for the newest checkpoint, writes down that
this is its base, and only then serves. An owner that commits looks at the claims after it wrote the commit: if there is
no newer claim by then, every later one finds the commit. So what an owner was told is committed is never lost, and what
comes from one that was too late is never read once the next one serves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hermes_stream.errors import LeaseLost
from hermes_stream.server.fleet.store import Store

_FENCE_DIGITS, _NUMBER_DIGITS = 16, 8
_COMMIT = ".commit"
_STEM = re.compile(r"(\d+)-(\d+)-(-?\d+\.\d{3})")
_MARK = re.compile(r"(\d+)-(claim|released|base)(?:-(\d+)-(\d+))?")
_NO_BASE = (0, 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """The newest claim of a session. holder: name of a server. is_released: it has let the session go."""

    fence: int
    holder: str
    is_released: bool


@dataclass(frozen=True, slots=True, order=True)
class Commit:
    """A checkpoint that is whole. time_seconds: of the session's newest frame then."""

    fence: int
    number: int
    time_seconds: float

    @property
    def stem(self) -> str:
        """The name of its folder."""
        return f"{self.fence:0{_FENCE_DIGITS}d}-{self.number:0{_NUMBER_DIGITS}d}-{self.time_seconds:.3f}"

    @staticmethod
    def of_stem(stem: str) -> Commit | None:
        """None for a name that is none."""
        found = _STEM.fullmatch(stem)
        return None if found is None else Commit(int(found[1]), int(found[2]), float(found[3]))


class Leases:
    """Claims and commits of all sessions of a store, as one server sees them. Everything here may block.

    Raises StoreError where the store cannot be reached.
    """

    def __init__(self, store: Store, holder: str) -> None:
        """holder: this server's name, which no other one ever had."""
        self._store, self._holder = store, holder

    def newest(self, name: str) -> Claim | None:
        """Who owns a session; None where nobody ever did."""
        marks = self._marks(name)
        fence = max((int(mark[1]) for mark in marks if mark[2] == "claim"), default=None)
        if fence is None:
            return None
        data = self._store.read(_claim(name, fence))
        if data is None:
            return None
        is_released = any(mark[2] == "released" and int(mark[1]) == fence for mark in marks)
        return Claim(fence, json.loads(data)["holder"], is_released)

    def take(self, name: str, before: Claim | None, first_fence: int) -> int | None:
        """Claim what nobody owns any more. before: what `newest` gave. Returns the fence; None where another was first.

        first_fence: of a session that nobody ever owned; higher than any of one of that name that was deleted.
        """
        fence = first_fence if before is None else before.fence + 1
        data = json.dumps({"holder": self._holder}).encode()
        return fence if self._store.create(_claim(name, fence), data) else None

    def settle(self, name: str, fence: int) -> Commit | None:
        """Say from which checkpoint a new owner goes on, once its claim is there; returns that.

        Raises LeaseLost if it has been succeeded meanwhile.
        """
        valid = [commit for commit in self.commits(name) if commit.fence < fence]
        base = valid[-1] if valid else None
        of_fence, number = _NO_BASE if base is None else (base.fence, base.number)
        self._store.write(f"{_leases(name)}/{fence:0{_FENCE_DIGITS}d}-base-{of_fence}-{number}", b"")
        self.check(name, fence)
        return base

    def commits(self, name: str) -> list[Commit]:
        """The checkpoints of a session, oldest first; not those of owners that were too late."""
        names = [each for each in self._store.names(f"sessions/{name}/checkpoints") if each.endswith(_COMMIT)]
        found = [Commit.of_stem(each.removesuffix(_COMMIT)) for each in names]
        return valid_commits([commit for commit in found if commit is not None], self._bases(name))

    def commit(self, name: str, commit: Commit) -> None:
        """Make a checkpoint count, all of whose files are there.

        Raises LeaseLost if the session has another owner: whether the checkpoint will be read is not known then.
        """
        self._store.write(f"sessions/{name}/checkpoints/{commit.stem}{_COMMIT}", b"")
        self.check(name, commit.fence)

    def check(self, name: str, fence: int) -> None:
        """Raises LeaseLost unless this is the newest claim."""
        if max((int(mark[1]) for mark in self._marks(name) if mark[2] == "claim"), default=None) != fence:
            raise LeaseLost(f"session {name} has another owner by now; ask again")

    def release(self, name: str, fence: int) -> None:
        """Let a session go: whoever is asked for it next may claim it at once."""
        self._store.write(f"{_leases(name)}/{fence:0{_FENCE_DIGITS}d}-released", b"")

    def _bases(self, name: str) -> dict[int, tuple[int, int]]:
        """By fence, the fence and number of the checkpoint behind which it goes on."""
        return {int(mark[1]): (int(mark[3]), int(mark[4])) for mark in self._marks(name) if mark[2] == "base"}

    def _marks(self, name: str) -> list[re.Match[str]]:
        found = [_MARK.fullmatch(mark) for mark in self._store.names(_leases(name))]
        return [mark for mark in found if mark is not None]


def valid_commits(commits: Iterable[Commit], bases: dict[int, tuple[int, int]]) -> list[Commit]:
    """Those that no later owner left out, oldest first. bases: by fence, fence and number of where it went on."""
    return sorted(
        commit
        for commit in commits
        if all((commit.fence, commit.number) <= base for fence, base in bases.items() if fence > commit.fence)
    )


def _leases(name: str) -> str:
    return f"sessions/{name}/leases"


def _claim(name: str, fence: int) -> str:
    return f"{_leases(name)}/{fence:0{_FENCE_DIGITS}d}-claim"
