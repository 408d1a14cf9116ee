"""Which checkpoints of a session count, told as its history: owner after owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Place = tuple[int, int]


def lineage(commits: Iterable[Place], bases: Mapping[int, Place]) -> list[Place]:
    """commits: fence and number of each. bases: where each owner that served went on, by fence.

    Each owner in turn throws away what its predecessors have beyond its base, and adds its own.
    """
    commits = set(commits)
    line: list[Place] = []
    for fence in sorted({*bases, *(fence for fence, _ in commits)}):
        if fence in bases:
            line = [place for place in line if place <= bases[fence]]
        line += sorted(place for place in commits if place[0] == fence)
    return line
