"""One strict reading of replies, for every benchmark; what official scripts do instead stands with each benchmark."""

from __future__ import annotations

import re
from string import ascii_uppercase

# An opening bracket perhaps; one capital; then the end or what may stand behind an option's letter.
_LETTER = re.compile(r"\(?([A-Z])(?:[).: \n]|$)")
_LETTERED = re.compile(r"^\s*\(?([A-Z])\s*[).:]\s*")
_INTEGER = re.compile(r"-?\d+")
_WORD = re.compile(r"[A-Za-z]+")


def strict_letter(reply: str, n_choices: int) -> str | None:
    """The option that a reply names by its letter, and nothing else; None where it does not.

    "B", "(B)", "B) two", " B." and "B: two" are B; "Answer: B", "both A and B", "b" and a letter past the options are
    None.
    """
    found = _LETTER.match(reply.strip())
    return found[1] if found and found[1] in ascii_uppercase[:n_choices] else None


def strict_count(reply: str) -> int | None:
    """The first whole number."""
    found = _INTEGER.search(reply)
    return int(found[0]) if found else None


def strict_yes_no(reply: str) -> str | None:
    """ "yes" or "no" where it is the first word, in any case."""
    found = _WORD.search(reply)
    word = found[0].lower() if found else ""
    return word if word in ("yes", "no") else None


def without_letter(option: str, index: int) -> str:
    """An option's text without its own letter, where it has one: "B. two" at index 1 is "two"."""
    found = _LETTERED.match(option)
    return option[found.end() :] if found and found[1] == ascii_uppercase[index] else option
