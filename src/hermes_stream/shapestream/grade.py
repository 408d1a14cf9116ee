"""When an answer counts as right."""

from __future__ import annotations

_ENDINGS = ".!?,;: "


def is_right(answer: str, truth: str) -> bool:
    """Exact match, but for case, surrounding space and closing punctuation."""
    return normalise_answer(answer) == normalise_answer(truth)


def normalise_answer(text: str) -> str:
    """What `is_right` compares."""
    return " ".join(text.casefold().split()).rstrip(_ENDINGS)
