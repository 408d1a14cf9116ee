"""One session's questions of a benchmark: dialogues, follow-ups, polls, history, and replies of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from hermes_stream import Engine, Query, Session
from hermes_stream.evals.asking import Asker, Due, Given
from hermes_stream.evals.item import Ask, Earlier, Item, Reply
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Turn
from tests.evals.asked import Plain, plain_item
from tests.tiny import make_frames


@pytest.fixture(scope="module")
def engine(llava_folder: Path) -> Iterator[Engine]:
    with Engine(load_adapter(str(llava_folder))) as engine:
        yield engine


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with engine.open("hermes", budget=60) as session:
        session.watch(make_frames(5))
        yield session


class Telling(Plain):
    """Quotes what was said before, asks once more after each first part, and is told of."""

    has_history: ClassVar[bool] = True

    def prompt(self, item: Item, ask: Ask, earlier: Sequence[Earlier]) -> Query:
        said = "".join(f"{before.question} {reply.text} " for before, _, reply in earlier)
        return Query(f"{said}{item.question} {ask.part}", max_new_tokens=3)

    def follow_up(self, item: Item, ask: Ask, reply: Reply) -> Ask | None:
        wanted = item.task == "two parts" and not ask.part
        return Ask(item.qid, ask.seconds, ask.index, "more") if wanted else None


def dues(*items: Item) -> list[Due]:
    return [Due(item, Ask(item.qid, item.ask_seconds), item.ask_seconds) for item in items]


def texts(given: Sequence[Given]) -> dict[str, str]:
    return {one.reply.key: one.reply.text for one in given}


def said(session: Session, text: str) -> str:
    return session.ask(Query(text, max_new_tokens=3)).result().text


def test_a_dialogue_quotes_the_sessions_own_answers(session: Session) -> None:
    items = [plain_item(n, 5.0, f"Number {n}?", dialogue="d") for n in range(3)]
    given = list(Asker(session, Telling()).ask(dues(*items)))
    expected: list[str] = []
    for number in range(3):
        before = "".join(f"Number {n}? {text} " for n, text in enumerate(expected))
        expected.append(said(session, f"{before}Number {number}? "))
    assert list(texts(given).values()) == expected


def test_a_follow_up_is_asked_at_once_and_has_a_key_of_its_own(session: Session) -> None:
    item = plain_item("a", 5.0, "Which?", task="two parts")
    given = list(Asker(session, Telling()).ask(dues(item)))
    assert texts(given) == {"a": said(session, "Which? "), "a:more": said(session, "Which? more")}


def test_what_is_remembered_is_the_last_question_in_the_published_order(session: Session) -> None:
    items = [plain_item(n, 5.0, f"Number {n}?") for n in range(4)]
    given = list(Asker(session, Telling()).ask(dues(*items)))
    assert session.stream.history == (Turn("Number 3? ", given[3].reply.text, given[3].reply.time_seconds),)


@pytest.mark.parametrize(
    ("memory", "reads"),
    [("hermes", True), ("hermes + recent(frames=2)", True), ("hermes(history=false)", False), ("uniform", False)],
)
def test_a_policy_says_whether_it_is_told_of_questions(memory: str, reads: bool) -> None:
    assert parse_memory(memory, bytes_per_token=1).reads_history is reads


def test_polls_and_follow_ups_are_not_remembered(session: Session) -> None:
    item = plain_item("a", 5.0, "Now?", task="two parts")
    polled = Due(item, Ask("a", 5.0, index=0), 5.0)
    list(Asker(session, Telling()).ask([polled]))
    assert session.stream.history == ()


def test_only_where_policy_and_task_have_a_history(engine: Engine, session: Session) -> None:
    item = plain_item("a", 5.0, "Which?")
    with engine.open("sliding-window", budget=60) as other:
        other.watch(make_frames(5))
        list(Asker(other, Telling()).ask(dues(item)))
        assert other.stream.history == ()
    list(Asker(session, Plain()).ask(dues(item)))
    assert session.stream.history == ()


def test_known_replies_are_not_asked_again_and_count_as_if_they_were(session: Session) -> None:
    items = [plain_item(n, 5.0, f"Number {n}?", dialogue="d") for n in range(2)]
    known = {"0": Reply(key="0", text="a made up answer", time_seconds=4.0)}
    given = list(Asker(session, Telling(), known).ask(dues(*items)))
    assert [one.is_new for one in given] == [False, True]
    assert given[1].reply.text == said(session, "Number 0? a made up answer Number 1? ")
    list(Asker(session, Telling(), known).ask(dues(items[0])))
    assert session.stream.history == (Turn("Number 0? ", "a made up answer", 4.0),)


def test_a_question_that_does_not_fit_is_an_error_and_the_others_are_answered(session: Session) -> None:
    long = plain_item("long", 5.0, "word " * 5000)
    given = {one.reply.key: one.reply for one in Asker(session, Plain()).ask(dues(long, plain_item("short", 5.0)))}
    assert (given["long"].error or "").startswith("ContextError: ")
    assert given["long"].text == ""
    assert given["short"].error is None


class Choosing(Plain):
    def __init__(self, choices: tuple[str, ...]) -> None:
        super().__init__()
        self._choices = choices

    def choices(self, item: Item, ask: Ask) -> tuple[str, ...]:
        return self._choices


def test_probabilities_of_the_choices_are_those_of_the_session(session: Session) -> None:
    item = plain_item("a", 5.0, "Which?")
    (given,) = Asker(session, Choosing(("yes", "no")), wants_logits=True).ask(dues(item))
    scores = session.score(Query("Which?"), ("yes", "no")).result()
    assert given.reply.probabilities == pytest.approx(dict(zip(scores.choices, scores.probabilities, strict=True)))
    (without,) = Asker(session, Choosing(("yes", "no"))).ask(dues(item))
    assert without.reply.probabilities is None


def test_choices_that_begin_alike_are_flagged_and_the_answer_stands(session: Session) -> None:
    item = plain_item("a", 5.0, "Which?")
    (given,) = Asker(session, Choosing(("yes", "yes")), wants_logits=True).ask(dues(item))
    assert given.reply.probabilities is None
    assert [flag.startswith("no logits: ") for flag in given.reply.flags] == [True]
    assert given.reply.text == session.ask(Query("Which?", max_new_tokens=1)).result().text


def test_more_questions_than_go_together_are_all_answered(session: Session) -> None:
    items = [plain_item(n, 5.0, f"Number {n}?", meta={"length": 2}) for n in range(40)]
    given = list(Asker(session, Plain()).ask(dues(*items)))
    assert [one.reply.key for one in given] == [str(n) for n in range(40)]
    assert given[33].reply.text == session.ask(Query("Number 33?", max_new_tokens=2)).result().text


def test_flags_of_a_question_are_its_replys(session: Session) -> None:
    (due,) = dues(plain_item("a", 5.0))
    (given,) = Asker(session, Plain()).ask([replace(due, flags=("odd",))])
    assert given.reply.flags == ("odd",)
