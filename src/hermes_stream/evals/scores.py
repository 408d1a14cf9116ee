"""What replies are worth: a mark for each question, and averages as each benchmark defines them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["official", "strict", "logits"]
"""How a reply is read: as the official script does it bug for bug; by one strict rule; or by the choices' logits."""

MODES: tuple[Mode, ...] = ("official", "strict", "logits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one reply, or all replies to one item, came to.

    key: of the ask or item. video: whose questions stand or fall together. groups: what else it counts for, as a split.
    value: 1 right, 0 wrong; other scales where an `Average` says so. is_parsed: whether the reply could be read.
    is_counted: False where the official script leaves it out of its denominator.
    is_answered: False for questions without a reply (undecodable video, an error); they count as wrong.
    """

    key: str
    task: str
    video: str
    value: float
    groups: tuple[str, ...] = ()
    is_parsed: bool = True
    is_counted: bool = True
    is_answered: bool = True
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Average:
    """A number that a benchmark prints.

    of: tasks, groups or other averages. rule: "pooled" is the mean of all their marks, each once; "even" the mean of
    their means. scale: what a value of 1 is shown as. is_apart: shown beside the others and part of no headline.
    """

    name: str
    of: tuple[str, ...]
    rule: Literal["pooled", "even"] = "pooled"
    scale: float = 100.0
    is_apart: bool = False


@dataclass(frozen=True)
class Scores:
    """The result of one run in one mode. extras: further numbers that are no mean of marks."""

    mode: Mode
    marks: tuple[Mark, ...]
    averages: tuple[Average, ...] = ()
    extras: Mapping[str, float] = field(default_factory=dict)

    @property
    def n_unparsed(self) -> int:
        return sum(not mark.is_parsed for mark in self.marks)

    @property
    def n_unanswered(self) -> int:
        return sum(not mark.is_answered for mark in self.marks)

    def mean(self, name: str) -> float | None:
        """Of the marks of a task, a group or an average, before its scale; None where nothing counts for it."""
        average = self.average(name)
        if average is None or average.rule == "pooled":
            return _mean([mark.value for mark in members(self.marks, self.leaves(name))])
        return _even([self.mean(part) for part in average.of])

    def average(self, name: str) -> Average | None:
        return next((each for each in self.averages if each.name == name), None)

    def leaves(self, name: str) -> list[str]:
        """The tasks and groups that an average is made of; a name in its own average is that of a task or group."""
        average = self.average(name)
        parts = [name] if average is None else average.of
        return [leaf for part in parts for leaf in ([part] if part == name else self.leaves(part))]


def members(marks: Iterable[Mark], names: Sequence[str]) -> list[Mark]:
    """The marks that count for any of these tasks or groups, each once, in their order."""
    wanted = set(names)
    return [mark for mark in marks if mark.is_counted and not wanted.isdisjoint((mark.task, *mark.groups))]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _even(values: Sequence[float | None]) -> float | None:
    """A part without marks (a split that was not run) leaves no mean: half a benchmark is not the benchmark."""
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None
