"""What benchmarks with open answers share: a judge's verdicts, a rule where yes or no is all, constant answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from hermes_stream.errors import ConfigError
from hermes_stream.evals.extraction import strict_yes_no
from hermes_stream.evals.item import Ask, Earlier, Item, Reply
from hermes_stream.evals.judge import HIGHEST_SCORE, Judge, Verdict
from hermes_stream.evals.judges.judging import Case, judge_all
from hermes_stream.evals.scores import Average, Mark, Mode, Scores
from hermes_stream.evals.task import Setting, Task
from hermes_stream.types import Query

YES_NO, OPEN = "yes-no", "open"
_SCORE = "score"
# "No one" is an answer of its own.
_YES_NO = re.compile(r"\s*(yes|no)\s*([.,;:!]|$)", re.IGNORECASE)


class OpenTask(Task):
    """A benchmark whose golds are texts. Subclasses define `read`; an item's split is `part_of` its gold.

    Mode "official": the judge decides of every answer, and its scores are cut to whole numbers. Mode "strict": the
    first word decides where the gold is yes or no, and what the judge says unreadably is wrong instead of not counted.
    Where nobody gives a score, right is 5 and wrong is 0.
    """

    splits: ClassVar[tuple[str, ...]] = (YES_NO, OPEN)
    metric: ClassVar[str] = "judged accuracy, and mean score of 0 to 5"
    is_judged: ClassVar[bool] = True
    max_new_tokens: ClassVar[int] = 256
    averages: ClassVar[tuple[Average, ...]] = (
        Average(YES_NO, (YES_NO,)),
        Average(OPEN, (OPEN,)),
        Average("accuracy", (YES_NO, OPEN)),
        Average("mean score", (_SCORE,), scale=HIGHEST_SCORE),
    )

    def __init__(self, setting: Setting | None = None, judge: Judge | None = None) -> None:
        super().__init__(setting, judge)
        self._verdicts: dict[str, Verdict] = {}

    @property
    def prompt_label(self) -> str:
        """The bare question is what published runners ask too."""
        return f"{self.name}-official"

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:  # noqa: ARG002
        n_tokens, penalty = self.setting.max_new_tokens or self.max_new_tokens, self.setting.repetition_penalty
        return Query(item.question, max_new_tokens=n_tokens, repetition_penalty=penalty)

    def cases(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Sequence[Case]:
        """What a judge has to decide, by the items' ids: an answer that is not empty, where no rule decides."""
        found = ((item, replies.get(item.qid)) for item in items)
        return [
            Case(item.qid, item.question, item.truth, reply.text.replace("\n", ""))
            for item, reply in found
            if reply is not None and _is_for_a_judge(item, reply, mode)
        ]

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        """Raises ConfigError where a judge is needed and there is none.

        Where the judge cannot be asked, the answer is not counted: `extras` say how many, and `notes` why.
        """
        cases = self.cases(items, replies, mode)
        verdicts = self._verdicts_of(cases) if cases else {}
        not_judged = {case.key for case in cases} - verdicts.keys()
        marks = [
            replace(mark, is_counted=False) if item.qid in not_judged else mark
            for item in items
            for mark in self._marks(item, replies.get(item.qid), mode, verdicts)
        ]
        extras = {"not judged": float(len(not_judged))} if not_judged else {}
        return Scores(mode, tuple(marks), self.averages, extras)

    def baselines(self, items: Sequence[Item], mode: Mode) -> Mapping[str, Scores]:
        """Always yes, and always no, by the rule: nobody is asked whether that answers open questions."""
        return {f"always {word}": self._always(items, mode, word) for word in ("yes", "no")} if items else {}

    def _always(self, items: Sequence[Item], mode: Mode, word: str) -> Scores:
        verdicts = (
            (item, _of_rule(word, item.truth) if item.split == YES_NO else Verdict(False, None, "")) for item in items
        )
        return Scores(mode, tuple(mark for item, each in verdicts for mark in _judged(item, each, mode)), self.averages)

    def _verdicts_of(self, cases: Sequence[Case]) -> Mapping[str, Verdict]:
        """By the cases' keys, without those for which the judge could not be asked."""
        if self.judge is None:
            raise ConfigError(
                f"answers to {self.title} need a judge; name one, or ask the split {YES_NO} alone and read it strictly"
            )
        key_of = {case.key: self.judge.cache_key(case.question, case.gold, case.prediction) for case in cases}
        new = {key_of[case.key]: replace(case, key=key_of[case.key]) for case in cases}
        judged = judge_all(self.judge, [case for key, case in new.items() if key not in self._verdicts])
        self._verdicts |= judged.verdicts
        if judged.error is not None and judged.error not in self.notes:
            self.notes.append(judged.error)
        return {name: self._verdicts[key] for name, key in key_of.items() if key in self._verdicts}

    def _marks(self, item: Item, reply: Reply | None, mode: Mode, verdicts: Mapping[str, Verdict]) -> Sequence[Mark]:
        wrong = Verdict(False, None, "")
        if reply is None or reply.error is not None:
            return [replace(mark, is_answered=False) for mark in _judged(item, wrong, mode)]
        if mode == "strict" and item.split == YES_NO and reply.text.strip():
            return _judged(item, _of_rule(reply.text, item.truth), mode)
        return _judged(item, verdicts.get(item.qid, wrong), mode)


def _is_for_a_judge(item: Item, reply: Reply, mode: Mode) -> bool:
    return reply.error is None and bool(reply.text.strip()) and not (mode == "strict" and item.split == YES_NO)


def part_of(gold: str) -> str:
    """The split of an item with this gold."""
    return YES_NO if _YES_NO.match(gold) else OPEN


def _of_rule(text: str, gold: str) -> Verdict:
    """The first word; unreadable where that is neither."""
    said = strict_yes_no(text)
    return Verdict(None if said is None else said == strict_yes_no(gold), None, "")


def _judged(item: Item, verdict: Verdict, mode: Mode) -> Sequence[Mark]:
    mark = Mark(
        key=item.qid,
        task=item.task,
        video=item.video,
        value=float(verdict.is_right is True),
        groups=() if item.task == item.split else (item.split,),
        is_parsed=verdict.is_right is not None,
        is_counted=verdict.is_right is not None or mode != "official",
        delay_seconds=item.delay_seconds,
    )
    return mark, replace(
        mark, key=f"{item.qid}:score", task=_SCORE, value=_score(verdict, mode), groups=(), is_counted=True
    )


def _score(verdict: Verdict, mode: Mode) -> float:
    if verdict.score is None:
        return float(verdict.is_right is True)
    return (int(verdict.score) if mode == "official" else verdict.score) / HIGHEST_SCORE
