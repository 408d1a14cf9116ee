"""A benchmark of plain questions at given times, and what sessions answer to them in one pass."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from hermes_stream.evals.asking import Asker
from hermes_stream.evals.item import Ask, Earlier, Item, Reply
from hermes_stream.evals.one_pass import OnePass, clips_of
from hermes_stream.evals.scores import Mode, Scores
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.evals.task import Task
from hermes_stream.types import Answer, Frame, Query

_Key = TypeVar("_Key", bound=Hashable)


class Plain(Task):
    """Asks an item's question as it is; `meta` has the length of the answer."""

    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "Plain"
    licence: ClassVar[str] = "none"
    splits: ClassVar[tuple[str, ...]] = ("all",)
    metric: ClassVar[str] = "none"
    files: ClassVar[str] = "none"
    has_history: ClassVar[bool] = False

    def read(self, annotations: Any) -> Iterable[Item]:
        return ()

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:
        return Query(item.question, max_new_tokens=item.meta.get("length", 1))

    def score(self, items: Sequence[Item], replies: Mapping[str, Reply], mode: Mode) -> Scores:
        return Scores(mode, ())


def plain_item(label: object, seconds: float, question: str = "What?", **fields: Any) -> Item:
    given: dict[str, Any] = {"bench": "plain", "split": "all", "video": "v", "task": "t", "gold": None, **fields}
    return Item(qid=str(label), question=question, ask_seconds=seconds, **given)


def answers_in_one_pass(
    side: SideBySide[_Key], frames: Iterable[Frame], items: Sequence[Item], *, batch_frames: int = 4
) -> Iterator[tuple[str, dict[_Key, Answer]]]:
    """Each item's id with the answers of those who gave one, in time order."""
    task = Plain()
    (clip,) = clips_of(task, items)
    askers = {key: Asker(session, task) for key, session in side.sessions.items()}
    for answers in OnePass(side, askers, batch_frames=batch_frames, fps=1.0).run(frames, clip):
        by_item: dict[str, dict[_Key, Answer]] = {}
        for key, given in answers:
            if given.answer is not None:
                by_item.setdefault(given.item.qid, {})[key] = given.answer
        yield from by_item.items()
