"""A judge that says what it is told to, and by default whether two texts are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermes_stream.errors import TaskError
from hermes_stream.evals.judge import Verdict


class ScriptedJudge:
    """verdicts: by the prediction. asked: what it was asked, in order. unreachable: for these predictions."""

    def __init__(self, verdicts: Mapping[str, Verdict] | None = None, unreachable: Sequence[str] = ()) -> None:
        self._verdicts = verdicts or {}
        self.unreachable = unreachable
        self.asked: list[tuple[str, str, str]] = []

    @property
    def manifest(self) -> dict[str, str]:
        return {"model": "scripted"}

    def cache_key(self, question: str, gold: str, prediction: str) -> str:
        return f"{question}\0{gold}\0{prediction}"

    def judge(self, question: str, gold: str, prediction: str) -> Verdict:
        if prediction in self.unreachable:
            raise TaskError("nobody is there")
        self.asked.append((question, gold, prediction))
        is_right = prediction == gold
        return self._verdicts.get(prediction, Verdict(is_right, 5.0 if is_right else 0.0, ""))
