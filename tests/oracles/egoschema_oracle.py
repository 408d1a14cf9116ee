"""How lmms-eval reads a reply to EgoSchema, by its definition: one question after the other to each option."""

from __future__ import annotations

from collections.abc import Sequence


def official_index(options: Sequence[str], reply: str) -> int:
    """-1 where no option is meant."""
    closed = [option + ("" if option[-1:] == "." else ".") for option in options]
    for index in range(len(closed)):
        if closed[index] == reply:
            return index
    for index in range(len(closed)):
        if _sentence(closed[index]) == reply:
            return index
    for index in range(len(closed)):
        letter = _letter(closed[index])
        if reply == letter or reply == "".join(character for character in letter if character != "."):
            return index
    return -1


def _sentence(option: str) -> str:
    """What stands between the first full stop with a space and the next."""
    first = option.find(". ")
    if first < 0:
        return option
    rest = option[first + 2 :]
    second = rest.find(". ")
    return rest if second < 0 else rest[:second]


def _letter(option: str) -> str:
    first = option.find(". ")
    return option if first < 0 else option[:first]
