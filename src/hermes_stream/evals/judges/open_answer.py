"""A language model that compares one answer with the truth: its prompt, and how its reply is read."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from hermes_stream.evals.judge import HIGHEST_SCORE, Verdict
from hermes_stream.evals.judges.endpoint import Asker, Message

_SYSTEM = (
    "You grade answers to questions about videos. You see a question, its correct answer and the answer of a student. "
    "Only the meaning counts: other words and more detail are fine, a contradiction or a missing main point is not."
)
_TEMPLATE = """Question: {question}
Correct answer: {gold}
Student's answer: {prediction}

Does the student's answer mean the same as the correct one? Reply with one JSON object and nothing else, in which \
"pred" is "yes" or "no" and "score" is a whole number from 0 (nothing is right) to {highest} (all is right), \
for example {{"pred": "yes", "score": 4}}."""
_OBJECT = re.compile(r"\{[^{}]*\}")


class OpenAnswerJudge:
    """A `Judge` with a pinned prompt that asks a model for yes or no and 0 to 5.

    Verdicts depend on the prompt, the model and its decoding, and on nothing else.
    """

    def __init__(self, asker: Asker, *, system: str = _SYSTEM, template: str = _TEMPLATE) -> None:
        """template: for `str.format`, with places for question, gold, prediction and perhaps highest (best score)."""
        self._asker, self._system, self._template = asker, system, template

    @property
    def manifest(self) -> dict[str, str]:
        prompt = hashlib.sha256(f"{self._system}\0{self._template}".encode()).hexdigest()
        return {**self._asker.manifest, "prompt_sha256": prompt}

    def cache_key(self, question: str, gold: str, prediction: str) -> str:
        return self._asker.key(self._messages(question, gold, prediction))

    def judge(self, question: str, gold: str, prediction: str) -> Verdict:
        """Raises TaskError where the model cannot be asked."""
        return read_verdict(self._asker.ask(self._messages(question, gold, prediction)).text)

    def _messages(self, question: str, gold: str, prediction: str) -> Sequence[Message]:
        said = self._template.format(question=question, gold=gold, prediction=prediction, highest=HIGHEST_SCORE)
        return (("system", self._system), ("user", said))


def read_verdict(reply: str) -> Verdict:
    """Of the first JSON object, or Python dictionary, in a reply that has "pred"; unreadable where there is none."""
    for found in _OBJECT.findall(reply):
        fields = _fields(found)
        said = str(fields.get("pred", "")).strip().casefold()
        if said in ("yes", "no"):
            return Verdict(said == "yes", _score(fields.get("score")), reply)
    return Verdict(None, None, reply)


def _fields(text: str) -> dict[str, Any]:
    """Models write JSON as they are told, or Python."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return dict(parse(text))
        except (ValueError, TypeError, SyntaxError):
            continue
    return {}


def _score(value: object) -> float | None:
    try:
        score = float(str(value))
    except ValueError:
        return None
    return score if 0 <= score <= HIGHEST_SCORE else None
