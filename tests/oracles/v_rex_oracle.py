"""Clusters of keys and the mass rule of V-Rex, written from their definition for one head, key by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Cluster:
    """The code of its first key, and its keys and their numbers."""

    code: list[bool]
    keys: list[Sequence[float]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def mean(self) -> list[float]:
        return [sum(column) / len(self.keys) for column in zip(*self.keys, strict=True)]


def cluster(codes: Sequence[list[bool]], keys: Sequence[Sequence[float]], radius: int) -> list[Cluster]:
    """Each key joins the nearest cluster below the radius, of equally near ones the oldest, or opens one."""
    clusters: list[Cluster] = []
    for number, (code, key) in enumerate(zip(codes, keys, strict=True)):
        distances = [sum(a != b for a, b in zip(code, other.code, strict=True)) for other in clusters]
        if not distances or min(distances) >= radius:
            clusters.append(Cluster(code))
            chosen = clusters[-1]
        else:
            chosen = clusters[distances.index(min(distances))]
        chosen.keys.append(key)
        chosen.numbers.append(number)
    return clusters


def taken_by_mass(scores: Sequence[float], counts: Sequence[int], share: float) -> set[int]:
    """Clusters by falling score until their mass exceeds the threshold."""
    threshold = share * sum(score * count for score, count in zip(scores, counts, strict=True))
    taken, mass = set(), 0.0
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        taken.add(index)
        mass += scores[index] * counts[index]
        if mass > threshold:
            break
    return taken
