"""Lists of four options as StreamingBench has them: some broken at line ends, some with what nobody meant."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from hermes_stream.evals.extraction import without_letter

LETTERS = "ABCD"
_LETTERED = re.compile(r"([A-F])\.\s*(.*)", re.DOTALL)


def listed(options: Any) -> list[str] | None:
    """The texts of a list, or of a list as Python writes it; None for what is neither."""
    if isinstance(options, str):
        try:
            options = ast.literal_eval(options)
        except (ValueError, SyntaxError):
            return None
    return [str(option) for option in options] if isinstance(options, (list, tuple)) else None


def published_options(options: Sequence[str]) -> tuple[str, ...]:
    """As the published runner shows them: the first four strings, with letters where the first has none."""
    first = tuple(options[: len(LETTERS)])
    if options[0].startswith("A."):
        return first
    return tuple(f"{letter}. {option}" for letter, option in zip(LETTERS, first, strict=True))


def unlettered(options: Sequence[str]) -> tuple[str, ...]:
    """Each without the letter of its place, where it has that."""
    return tuple(without_letter(option, place) for place, option in enumerate(options))


def meant_options(options: Sequence[str]) -> tuple[str, ...] | None:
    """The four texts that were meant, in the order of their letters; None where there are not four.

    What has no letter goes on with the option before it; of a letter that comes again the first counts; E and F are
    what a translator left. Where letters are no guide (a name such as "A.Lebrun", the same letter for two of four
    options) the place is.
    """
    given = [option for option in options if option.strip()]
    if sum(_LETTERED.match(option.strip()) is not None for option in given) < 2:
        return tuple(given) if len(given) == len(LETTERS) else None
    if len(given) == len(LETTERS) and len(set(_letters(given))) < len(LETTERS):
        return tuple(_text(option) for option in given)
    by_letter = _joined(given)
    return tuple(by_letter[letter] for letter in LETTERS) if set(LETTERS) <= set(by_letter) else None


def _joined(options: Sequence[str]) -> dict[str, str]:
    by_letter: dict[str, str] = {}
    ends: str | None = None
    for option in options:
        found = _LETTERED.match(option.strip())
        if found and found[1] in by_letter:
            ends = None
        elif found:
            ends = found[1]
            by_letter[ends] = found[2].strip()
        elif ends is not None:
            by_letter[ends] = f"{by_letter[ends]} {option.strip()}"
    return by_letter


def _letters(options: Sequence[str]) -> list[str]:
    return [found[1] for option in options if (found := _LETTERED.match(option.strip()))]


def _text(option: str) -> str:
    found = _LETTERED.match(option.strip())
    return found[2].strip() if found else option.strip()
