"""When somebody who is asked every second whether now is the moment says so, and what is said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hermes_stream.evals.item import Ask, Reply

When = Literal["early", "on time", "late", "never"]
WHENS: tuple[When, ...] = ("early", "on time", "late", "never")


@dataclass(frozen=True, slots=True)
class Firing:
    """The first yes among the polls of one request.

    seconds: when; None for never. output: what was said then. is_answered: whether every poll up to then has a reply;
    is_parsed: whether each of these could be read. n_early: polls, one a second, before the moment less the tolerance
    that were answered; n_false: those with a yes.
    """

    gold_seconds: float
    tolerance_seconds: float
    seconds: float | None
    output: str
    is_answered: bool
    is_parsed: bool
    n_early: int
    n_false: int

    @property
    def when(self) -> When:
        if self.seconds is None:
            return "never"
        if abs(self.seconds - self.gold_seconds) <= self.tolerance_seconds:
            return "on time"
        return "early" if self.seconds < self.gold_seconds else "late"


def output_ask(poll: Ask) -> Ask:
    """What follows a poll whose answer is yes."""
    return Ask(poll.qid, poll.seconds, index=poll.index, part="output")


def find_firing(
    polls: Sequence[Ask],
    replies: Mapping[str, Reply],
    says_yes: Callable[[Reply], bool | None],
    gold_seconds: float,
    tolerance_seconds: float,
) -> Firing:
    """polls: in the order of their times. says_yes: None for a reply that is neither yes nor no."""
    said = [(poll, _read(replies.get(poll.key), says_yes)) for poll in polls]
    place = next((place for place, (_, answer) in enumerate(said) if answer is True), None)
    first = None if place is None else said[place][0]
    output = None if first is None else replies.get(output_ask(first).key)
    heard = said if place is None else said[: place + 1]
    early = [answer for poll, answer in said if poll.seconds < gold_seconds - tolerance_seconds and answer != "missing"]
    return Firing(
        gold_seconds,
        tolerance_seconds,
        None if first is None else first.seconds,
        output.text if output is not None and output.error is None else "",
        all(answer != "missing" for _, answer in heard),
        all(answer is not None for _, answer in heard),
        len(early),
        early.count(True),
    )


def times_spoken_up(firings: Sequence[Firing]) -> dict[str, float]:
    """Per cent of requests for each time of speaking up; false alarms per minute of polls before the moment."""
    if not firings:
        return {}
    shares = {f"speaks up {when}": 100 * sum(each.when == when for each in firings) / len(firings) for when in WHENS}
    n_early = sum(each.n_early for each in firings)
    false_alarms = 60 * sum(each.n_false for each in firings) / n_early if n_early else 0.0
    return {**shares, "false alarms per minute": false_alarms}


def _read(reply: Reply | None, says_yes: Callable[[Reply], bool | None]) -> bool | Literal["missing"] | None:
    return "missing" if reply is None or reply.error is not None else says_yes(reply)
