"""What benchmarks with options share: the prompt, three readings of a reply, and constant answers."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import ClassVar

from hermes_stream.evals.extraction import strict_letter
from hermes_stream.evals.item import Ask, Earlier, Gold, Item, Reply
from hermes_stream.evals.scores import Mark, Mode, Scores
from hermes_stream.evals.task import Task
from hermes_stream.types import Query

_MAX_NEW_TOKENS = 16


class ChoiceTask(Task):
    """A benchmark whose items have `choices` and a letter as gold, or most of them.

    Subclasses define `read`, `official_letter`, `official_prompt` and perhaps `groups`; those that have other items as
    well define `answer_in`, `choices` and `chance` for these.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("official", "strict", "logits")
    official_drops_unparsed: ClassVar[bool] = False
    """Whether the official script leaves replies that it cannot read out of its denominator."""
    constant_texts: ClassVar[tuple[str, ...]] = ()
    """What a constant answer says to items without options."""

    @abstractmethod
    def official_letter(self, item: Item, reply: str) -> str | None:
        """The letter that the official script reads; None where it reads none."""

    @abstractmethod
    def official_prompt(self, item: Item, ask: Ask) -> str:
        """The question in the wording of the user's copy. Raises TaskError where the copy does not hold it."""

    def groups(self, item: Item) -> tuple[str, ...]:
        """What else an item counts for beside its task."""
        return (item.split,)

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:  # noqa: ARG002
        official = self.setting.prompts is not None
        return Query(
            self.official_prompt(item, ask) if official else item.question,
            options=() if official else item.choices,
            max_new_tokens=self.setting.max_new_tokens or _MAX_NEW_TOKENS,
            repetition_penalty=self.setting.repetition_penalty,
        )

    def choices(self, item: Item, ask: Ask) -> tuple[str, ...]:  # noqa: ARG002
        return letters(item)

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        marks = [self._mark(item, ask, replies.get(ask.key), mode) for item in items for ask in self.polls(item)]
        return Scores(mode, tuple(mark for mark in marks if mark is not None), self.averages)

    def baselines(self, items: Sequence[Item], mode: Mode) -> Mapping[str, Scores]:
        """Always the same, for each letter that all items with options have; and chance."""
        labelled = [item for item in items if item.gold is not None]
        n_shared = min((len(item.choices) for item in labelled if item.choices), default=0)
        constants = [(letter, *self.constant_texts) for letter in ascii_uppercase[:n_shared]] or [self.constant_texts]
        rows = {f"always {' / '.join(texts)}": self._always(labelled, mode, texts) for texts in constants if texts}
        return {**rows, "chance": self._guessing(labelled, mode, self.chance)} if labelled else {}

    def chance(self, item: Item) -> float:
        """How often a guess is right."""
        return 1 / len(item.choices)

    def _always(self, items: Sequence[Item], mode: Mode, texts: tuple[str, ...]) -> Scores:
        return self._guessing(items, mode, lambda item: item.truth in texts)

    def _guessing(self, items: Sequence[Item], mode: Mode, worth: Callable[[Item], float]) -> Scores:
        marks = [self.new_mark(item, ask.key, float(worth(item))) for item in items for ask in self.polls(item)]
        return Scores(mode, tuple(marks), self.averages)

    def _mark(self, item: Item, ask: Ask, reply: Reply | None, mode: Mode) -> Mark | None:
        if item.gold is None:
            return None
        is_answered = reply is not None and reply.error is None
        answer = self.answer_in(item, reply, mode) if reply is not None and is_answered else None
        drops = mode == "official" and self.official_drops_unparsed
        return replace(
            self.new_mark(item, ask.key, float(answer == item.gold.value)),
            is_parsed=answer is not None,
            is_counted=answer is not None or not drops or not is_answered,
            is_answered=is_answered,
        )

    def answer_in(self, item: Item, reply: Reply, mode: Mode) -> str | None:
        """What a reply says, in the words of the gold; None where it cannot be read."""
        if mode == "official":
            return self.official_letter(item, reply.text)
        return strict_letter(reply.text, len(item.choices)) if mode == "strict" else reply.likeliest

    def new_mark(self, item: Item, key: str, value: float) -> Mark:
        """A mark of the item, in its task and groups."""
        groups = tuple(group for group in self.groups(item) if group != item.task)
        return Mark(
            key=key, task=item.task, video=item.video, value=value, groups=groups, delay_seconds=item.delay_seconds
        )


def letters(item: Item) -> tuple[str, ...]:
    """By which an item's choices are called."""
    return tuple(ascii_uppercase[: len(item.choices)])


def shuffled(item: Item, seed: int) -> Item:
    """The item with its choices in another order, the same for the same id and seed; its gold letter moves along."""
    order = list(range(len(item.choices)))
    random.Random(f"{seed}/{item.qid}").shuffle(order)
    choices = tuple(item.choices[index] for index in order)
    if item.gold is None or item.gold.kind != "letter":
        return replace(item, choices=choices)
    place = order.index(ascii_uppercase.index(item.gold.value))
    gold = Gold("letter", ascii_uppercase[place], item.gold.facts)
    return replace(item, choices=choices, gold=gold)
