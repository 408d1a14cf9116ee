"""What MVBench and MLVU share: the right answer is the text of an option, and options are listed in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import letters
from hermes_stream.evals.item import Item

NO_OPTION = "@"
"""The letter of an answer that is none of the options: what comes before A, as the published scripts have it."""


def letter_of_text(annotations: Annotations, record: Record, options: Sequence[str]) -> str:
    """The letter of the option that is the answer, the last of equal ones, as the published scripts have it.

    Notes what is known to happen: equal options, options without text, answers that differ from theirs in surrounding
    space, and answers that are none of the options, to which no reply is right.
    Raises MalformedRecord where there is no answer.
    """
    answer = record.get("answer") if isinstance(record.get("answer"), str) else record.text("answer")
    same = [index for index, option in enumerate(options) if option == answer]
    if not same and (same := [index for index, option in enumerate(options) if option.strip() == answer.strip()]):
        annotations.repaired(record, f"has an answer that differs from its option by space: {answer!r}")
    if not same:
        annotations.repaired(record, f"has 'answer' = {answer[:60]!r}, which is none of its options: no reply is right")
    if not all(option.strip() for option in options):
        annotations.repaired(record, "has an option without text")
    elif len({option.strip() for option in options}) < len(options):
        annotations.repaired(record, "has equal options; in the modes strict and logits each of them is the answer")
    return ascii_uppercase[same[-1]] if same else NO_OPTION


def gold_of_equals(item: Item, letter: str | None) -> str | None:
    """The gold letter where the named option has the gold option's text; else the letter as it is."""
    if letter is None or item.truth not in letters(item):
        return letter
    named, wanted = (ascii_uppercase.index(each) for each in (letter, item.truth))
    is_same = named < len(item.choices) and item.choices[named].strip() == item.choices[wanted].strip()
    return item.truth if is_same else letter


def bracketed(item: Item) -> str:
    """Question and options in the official form."""
    options = [f"({letter}) {text}" for letter, text in zip(letters(item), item.choices, strict=True)]
    return "\n".join([f"Question: {item.question}", "Options:", *options])
