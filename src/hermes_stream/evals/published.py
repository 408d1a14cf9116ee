"""Values that others print, and in what they differ from a run of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

_FILE = "published.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One value of one source.

    bench, average: as our tasks name them. model: a part of a checkpoint's name, in small letters. method: as its
    source calls it. memory: the policy of ours that it is, where there is one. fps, budget_tokens: where it says so.
    source: where it stands. caveat: why it may not be what it seems.
    """

    bench: str
    average: str
    model: str
    method: str
    value: float
    source: str
    memory: str | None = None
    fps: float | None = None
    budget_tokens: int | None = None
    caveat: str = ""


@cache
def published_values() -> tuple[Published, ...]:
    """All that are known; the file lies beside this module."""
    text = resources.files("hermes_stream.evals").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(Published(**each) for each in json.loads(text))


def published_of(bench: str) -> list[Published]:
    """Those of a benchmark, best first within each of its numbers."""
    return sorted(
        (each for each in published_values() if each.bench == bench), key=lambda each: (each.average, -each.value)
    )


def ours_beside(value: Published, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Our row of the same memory, at the same budget if there is one; None where we have none. rows: of one reading."""
    same = [row for row in rows if row["kind"] == "memory" and row["memory"] == value.memory]
    return next((row for row in same if row["budget_tokens"] == value.budget_tokens), same[0] if same else None)


def differs_in(value: Published, row: Mapping[str, Any]) -> list[str]:
    """What is not the same in a row of ours: only where this is empty are the two comparable."""
    found = [] if value.model in str(row["model"]).lower() else ["model"]
    if value.fps is not None and value.fps != row["fps"]:
        found.append("fps")
    if value.budget_tokens is not None and value.budget_tokens != row.get("budget_tokens"):
        found.append("budget")
    if row["prompt"] == "own-prompt":
        found.append("prompt")
    if row["judge"] is not None:
        found.append("judge")
    return found
