"""Judges without a model: rules that compare two texts."""

from __future__ import annotations

import re
from collections import Counter

from hermes_stream.evals.judge import HIGHEST_SCORE, Verdict
from hermes_stream.shapestream import is_right

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})
_DEFAULT_THRESHOLD = 0.6


class ExactMatch:
    """Right where the answer is the truth, but for case, surrounding space and closing punctuation."""

    @property
    def manifest(self) -> dict[str, str]:
        return {"model": "exact"}

    def cache_key(self, question: str, gold: str, prediction: str) -> str:  # noqa: ARG002
        return f"exact\0{gold}\0{prediction}"

    def judge(self, question: str, gold: str, prediction: str) -> Verdict:  # noqa: ARG002
        return Verdict(is_right(prediction, gold), None, "")


class FuzzyMatch:
    """Right where answer and truth share enough words: F1 of their words, without articles, at or above a threshold.

    Where the truth is yes or no, the answer's first word decides. The score is the F1 on the judges' scale.
    Source of the measure: Rajpurkar et al., SQuAD (2016), section 6.1.
    """

    def __init__(self, threshold: float = _DEFAULT_THRESHOLD) -> None:
        self._threshold = threshold

    @property
    def manifest(self) -> dict[str, str]:
        return {"model": "fuzzy", "threshold": str(self._threshold)}

    def cache_key(self, question: str, gold: str, prediction: str) -> str:  # noqa: ARG002
        return f"fuzzy {self._threshold}\0{gold}\0{prediction}"

    def judge(self, question: str, gold: str, prediction: str) -> Verdict:  # noqa: ARG002
        wanted, said = words_of(gold), words_of(prediction)
        if wanted in (["yes"], ["no"]):
            is_same = said[:1] == wanted
            return Verdict(is_same, float(HIGHEST_SCORE * is_same), "")
        shared = shared_f1(wanted, said)
        return Verdict(shared >= self._threshold, HIGHEST_SCORE * shared, "")


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation and articles; a text of articles keeps them."""
    words = _WORD.findall(text.casefold())
    return [word for word in words if word not in _ARTICLES] or words


def shared_f1(wanted: list[str], said: list[str]) -> float:
    """Harmonic mean of the shares of words in common, each counted as often as it comes in both; 1 for equal ones."""
    n_shared = (Counter(wanted) & Counter(said)).total()
    n_words = len(wanted) + len(said)
    return 2 * n_shared / n_words if n_words else 1.0
