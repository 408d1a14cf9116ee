"""What MVBench and MLVU share: the right answer is the text of an option, and options are listed in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from hermes_stream.evals.annotations import Annotations, Record
from hermes_stream.evals.choice_task import letters
from hermes_stream.evals.item import Item


def letter_of_text(annotations: Annotations, record: Record, answer: str, options: Sequence[str]) -> str:
    """The letter of the option that is the answer, the last of equal ones, as the published scripts have it.

    Equal options, and answers that differ from theirs in surrounding space, are noted. Raises MalformedRecord where no
    option is the answer.
    """
    same = [index for index, option in enumerate(options) if option == answer]
    if not same and (same := [index for index, option in enumerate(options) if option.strip() == answer.strip()]):
        annotations.repaired(record, f"has an answer that differs from its option by space: {answer!r}")
    if not same:
        raise record.malformed(f"has 'answer' = {answer[:60]!r}, which is none of its options")
    if len({option.strip() for option in options}) < len(options):
        annotations.repaired(record, "has equal options; in the modes strict and logits each of them is the answer")
    return ascii_uppercase[same[-1]]


def gold_of_equals(item: Item, letter: str | None) -> str | None:
    """The gold letter where the named option has the gold option's text; else the letter as it is."""
    if letter is None or item.gold is None:
        return letter
    named, wanted = (ascii_uppercase.index(each) for each in (letter, item.gold.value))
    is_same = named < len(item.choices) and item.choices[named].strip() == item.choices[wanted].strip()
    return item.gold.value if is_same else letter


def bracketed(item: Item) -> str:
    """Question and options in the official form."""
    options = [f"({letter}) {text}" for letter, text in zip(letters(item), item.choices, strict=True)]
    return "\n".join([f"Question: {item.question}", "Options:", *options])
