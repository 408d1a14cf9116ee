"""One session is asked a benchmark's questions: which may go together, what they quote, and what follows a reply."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.scoring import PendingScores
from hermes_stream.engine.session import Session
from hermes_stream.errors import LimitError, UsageError
from hermes_stream.evals.item import Ask, Earlier, Item, Reply
from hermes_stream.evals.task import Task
from hermes_stream.types import Answer, Query, Turn

# Questions of one session that wait for tokens together: each holds a tail of its own.
_MOST_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Due:
    """An item that is to be asked. seconds: when, within the part of the video that is watched; flags: of its reply."""

    item: Item
    ask: Ask
    seconds: float
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """What came back. answer: None where there is none, and where the reply was known before."""

    item: Item
    ask: Ask
    reply: Reply
    answer: Answer | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class _Begun:
    due: Due
    query: Query
    stream: AnswerStream | None
    scores: PendingScores | None


_Lane = deque[Due]


class Asker:
    """Asks one session of one video. Not for several threads at once.

    known: replies of an earlier run, by key: they are not asked again, and count for what follows as if they were.
    wants_logits: also ask how probable each choice is. Questions of a dialogue follow each other; where the policy is
    told of earlier questions and the task has such, all do, polls and follow-ups apart, which are not told of.
    """

    def __init__(
        self, session: Session, task: Task, known: Mapping[str, Reply] | None = None, *, wants_logits: bool = False
    ) -> None:
        self.session, self._task, self._known = session, task, known or {}
        self._wants_logits = wants_logits
        self._remembers = task.has_history and session.policy.reads_history
        self._earlier: defaultdict[str, list[Earlier]] = defaultdict(list)

    def ask(self, dues: Sequence[Due]) -> Iterator[Given]:
        """All that are due, of what the session has watched by now, with what follows them.

        A question that does not fit has a reply with an error. What else goes wrong is raised: the session is of no
        more use.
        """
        lanes = self._lanes(dues)
        for first in range(0, len(lanes), _MOST_AT_ONCE):
            yield from self._ask_lanes(lanes[first : first + _MOST_AT_ONCE])

    def start(self, due: Due) -> Callable[[], list[Given]]:
        """Ask now, of what has been watched; the function waits for what comes back, and asks what follows it."""
        begun = self._begin(due)

        def wait() -> list[Given]:
            given, more = self._settle(begun)
            return [given] if more is None else [given, *self.ask([more])]

        return wait

    def knows(self, key: str) -> bool:
        """Whether an earlier run has the reply."""
        return key in self._known

    def is_ordered(self, due: Due) -> bool:
        """Whether it must wait for the answers to others."""
        return self._lane_of(due) != due.ask.key

    def _lanes(self, dues: Iterable[Due]) -> list[_Lane]:
        """Those of one lane are asked one after the other."""
        lanes: defaultdict[str, _Lane] = defaultdict(deque)
        for due in dues:
            lanes[self._lane_of(due)].append(due)
        return list(lanes.values())

    def _lane_of(self, due: Due) -> str:
        if self._is_remembered(due):
            return "history"
        return due.ask.key if due.item.dialogue is None else f"dialogue {due.item.dialogue}"

    def _is_remembered(self, due: Due) -> bool:
        return self._remembers and due.ask.index is None and not due.ask.part

    def _ask_lanes(self, lanes: list[_Lane]) -> Iterator[Given]:
        while lanes:
            begun = [self._begin(lane.popleft()) for lane in lanes]
            for lane, one in zip(lanes, begun, strict=True):
                given, more = self._settle(one)
                if more is not None:
                    lane.appendleft(more)
                yield given
            lanes = [lane for lane in lanes if lane]

    def _settle(self, begun: _Begun) -> tuple[Given, Due | None]:
        """Wait for what comes back; and what is asked next because of it."""
        due, given = begun.due, self._end(begun)
        if due.item.dialogue is not None:
            self._earlier[due.item.dialogue].append((given.item, given.ask, given.reply))
        more = self._task.follow_up(given.item, given.ask, given.reply)
        return given, None if more is None else Due(given.item, more, due.seconds, due.flags)

    def _begin(self, due: Due) -> _Begun:
        dialogue = due.item.dialogue
        query = self._task.prompt(due.item, due.ask, () if dialogue is None else tuple(self._earlier[dialogue]))
        if due.ask.key in self._known:
            return _Begun(due, query, None, None)
        return _Begun(due, query, *self._submit(due, query))

    def _submit(self, due: Due, query: Query) -> tuple[AnswerStream, PendingScores | None]:
        choices = self._task.choices(due.item, due.ask) if self._wants_logits else ()
        scores = self.session.score(query, choices) if len(choices) > 1 else None
        return self.session.ask(query, remember=self._is_remembered(due)), scores

    def _end(self, begun: _Begun) -> Given:
        due = begun.due
        if begun.stream is None:
            reply = self._known[due.ask.key]
            if self._is_remembered(due) and reply.error is None:
                turn = Turn(begun.query.text, begun.query.meant_by(reply.text), reply.time_seconds)
                self.session.remember(turn)
            return Given(due.item, due.ask, reply, is_new=False)
        try:
            return self._collect(due, begun.stream, begun.scores)
        except (UsageError, LimitError) as error:
            return Given(due.item, due.ask, error_reply(due, error))
        except Exception:  # perhaps another session's, with which it shared a forward: alone it shows
            return self._collect(due, *self._submit(due, begun.query))

    def _collect(self, due: Due, stream: AnswerStream, scores: PendingScores | None) -> Given:
        answer = stream.result()
        reply = Reply(key=due.ask.key, text=answer.text, time_seconds=answer.time_seconds, flags=due.flags)
        return Given(due.item, due.ask, reply if scores is None else _with_probabilities(reply, scores), answer)


def error_reply(due: Due, error: Exception) -> Reply:
    """Why there is no answer."""
    message = " ".join(str(error).split())
    return Reply(key=due.ask.key, error=f"{type(error).__name__}: {message}", flags=due.flags)


def _with_probabilities(reply: Reply, scores: PendingScores) -> Reply:
    """Choices that no first token tells apart have none, and the answer stands all the same."""
    try:
        found = scores.result()
    except UsageError as error:
        return replace(reply, flags=(*reply.flags, f"no logits: {error}"))
    return replace(reply, probabilities=dict(zip(found.choices, found.probabilities, strict=True)))
