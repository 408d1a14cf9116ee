"""Many answers before a judge: none is lost when the judge fails, and two judges can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hermes_stream.errors import TaskError
from hermes_stream.evals.judge import Judge, Verdict

_N_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Case:
    """One answer to be judged. key: by which its verdict is found."""

    key: str
    question: str
    gold: str
    prediction: str


@dataclass(frozen=True)
class Judged:
    """verdicts: by key. not_judged: keys of those for which the judge could not be asked; error: why, in one line.

    A second call judges these, and with kept answers these only.
    """

    verdicts: Mapping[str, Verdict]
    not_judged: tuple[str, ...] = ()
    error: str | None = None

    @property
    def n_unreadable(self) -> int:
        """Verdicts in which the judge's reply was neither yes nor no."""
        return sum(verdict.is_right is None for verdict in self.verdicts.values())


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two judges on the same answers. n: that both judged readably; n_apart: all others.

    share: on which they say the same. kappa: Cohen's, 0 is as often as chance has it, 1 always; None where both
    always say the same one thing, so that chance explains all.
    Source: J. Cohen, A coefficient of agreement for nominal scales (1960).
    """

    n: int
    n_apart: int
    share: float | None
    kappa: float | None

    def __str__(self) -> str:
        share = "no answer" if self.share is None else f"{100 * self.share:.1f} % of {self.n} answers"
        kappa = "not defined" if self.kappa is None else f"{self.kappa:.2f}"
        return f"agree on {share}, Cohen's kappa {kappa}, {self.n_apart} not judged by both"


def judge_all(judge: Judge, cases: Sequence[Case], n_at_once: int = _N_AT_ONCE) -> Judged:
    """Verdicts for all cases that the judge can be asked about; a judge that fails is no error here."""

    def verdict_of(case: Case) -> Verdict | str:
        try:
            return judge.judge(case.question, case.gold, case.prediction)
        except TaskError as error:
            return str(error)

    with ThreadPoolExecutor(n_at_once, "hermes-judge") as pool:
        found = dict(zip((case.key for case in cases), pool.map(verdict_of, cases), strict=True))
    verdicts = {key: each for key, each in found.items() if isinstance(each, Verdict)}
    errors = {key: each for key, each in found.items() if isinstance(each, str)}
    return Judged(verdicts, tuple(errors), next(iter(errors.values()), None))


def agreement(first: Mapping[str, Verdict], second: Mapping[str, Verdict]) -> Agreement:
    """How far two judges agree. first, second: verdicts by key."""
    pairs = [
        (first[key].is_right, second[key].is_right)
        for key in first.keys() & second.keys()
        if first[key].is_right is not None and second[key].is_right is not None
    ]
    n, n_apart = len(pairs), len(first.keys() | second.keys()) - len(pairs)
    if not pairs:
        return Agreement(0, n_apart, None, None)
    share = sum(one == other for one, other in pairs) / n
    said, also_said = (Counter(side) for side in zip(*pairs, strict=True))
    by_chance = sum(said[answer] * also_said[answer] for answer in (True, False)) / n**2
    return Agreement(n, n_apart, share, (share - by_chance) / (1 - by_chance) if by_chance < 1 else None)
