"""Questions under way: asked, followed, cancelled, written down."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hermes_stream.engine.answer import AnswerStream
from hermes_stream.engine.session import Session
from hermes_stream.errors import ContextError, SessionClosed, UsageError
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError, not_found
from hermes_stream.server.state.past import Past, session_at
from hermes_stream.types import Answer, Query, Turn

MOST_LETTERS = 100_000
_N_NAME_BYTES = 6
_MOST_TURNS = 16
_MINUTE_SECONDS = 60.0

Outcome = Literal["answered", "cancelled", "failed", "refused"]


class AskRequest(BaseModel):
    """A question. Everything but its text has a default.

    id: a name for it, by which it can be cancelled. options: texts of a multiple choice. remember: let question and
    answer guide what is kept from now on. dialogue: a name; questions of one dialogue know those before them.
    evidence: how many frames to name that the answer attended to most. as_of_s: answer as if it were that time of the
    stream. stop: texts before which the answer ends. stream: server-sent events instead of one JSON object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    question: Annotated[str, Field(max_length=MOST_LETTERS)]
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    options: tuple[Annotated[str, Field(max_length=10_000)], ...] = ()
    remember: bool = False
    dialogue: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    evidence: Annotated[int, Field(ge=0, le=64)] = 4
    as_of_s: Annotated[float, Field(ge=0)] | None = None
    stop: tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...] = Field(default=(), max_length=16)
    stream: bool = False

    def to_query(self, turns: tuple[Turn, ...] = ()) -> Query:
        """Raises UsageError for what no model could be asked."""
        return Query(
            self.question,
            options=self.options,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            evidence=self.evidence,
            turns=turns,
            stop=self.stop,
        )


@dataclass(slots=True)
class _Place:
    """Of an open question, from before its session is even found until its answer is complete."""

    stream: AnswerStream | None = None
    is_cancelled: bool = False
    ttft_seconds: float | None = None

    def begin(self, stream: AnswerStream) -> None:
        self.stream = stream
        if self.is_cancelled:
            stream.cancel()

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.stream is not None:
            self.stream.cancel()


class Asker:
    """Asks sessions, and knows which questions are open; used on the server's loop.

    on_outcome: told what became of each question, and how long the first token of a whole answer took, in seconds.
    """

    def __init__(self, hub: Hub) -> None:
        self._journal, self._limits, self._keeper = hub.journal, hub.limits, hub.keeper
        self.on_outcome: list[Callable[[Outcome, float | None], None]] = []
        self._open: dict[tuple[str, str], _Place] = {}
        self._asked_at: dict[str, deque[float]] = {}
        hub.on_forget.append(self.forget)

    async def ask(
        self, live: LiveSession, owner: str, request: AskRequest, turns: tuple[Turn, ...] = ()
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Events of one answer: `response.start`, `response.text.delta` for each piece, `response.text.done`.

        turns: those before it, where the client keeps them; otherwise those of the request's dialogue.
        Closing the iterator cancels the answer. Raises ApiError where a limit is reached, HermesError for what cannot
        be asked or answered.
        """
        live.touch()
        name = request.id or secrets.token_hex(_N_NAME_BYTES)
        with self._place(live, owner, name) as place:
            past = None if request.as_of_s is None else await session_at(live, request.as_of_s, self._keeper.folder)
            session = live.session if past is None else past.session
            try:
                async for event in self._answer(live, session, name, request, turns, place):
                    yield event | _basis(past) if event["type"] == "response.text.done" else event
            except SessionClosed as error:
                if live.farewell:
                    raise ApiError(503, "session_moved", live.farewell) from error
                raise
            finally:
                if past is not None:
                    past.close()

    def cancel(self, live: LiveSession, name: str) -> None:
        """Stop an answer. Raises ApiError where there is no such question open."""
        place = self._open.get((live.name, name))
        if place is None:
            raise not_found("open question", name)
        place.cancel()

    def forget(self, live: LiveSession, start_seconds: float, end_seconds: float) -> None:
        """Take the turns of a time range out of all dialogues of a session."""
        for dialogue, record in self._dialogues(live).items():
            rows = [row for row in record["turns"] if not start_seconds <= row["time_s"] < end_seconds]
            self._put(live, dialogue, rows)

    async def _answer(
        self,
        live: LiveSession,
        session: Session,
        name: str,
        request: AskRequest,
        turns: tuple[Turn, ...],
        place: _Place,
    ) -> AsyncGenerator[dict[str, Any], None]:
        query = request.to_query(turns or self._turns(live, request.dialogue))
        stream = session.ask(query, remember=request.remember and session is live.session)
        place.begin(stream)
        time_seconds = session.stats.time_seconds
        is_written = False
        try:
            yield {"type": "response.start", "id": name, "time_s": round(time_seconds, 3)}
            async for token in stream:
                if not is_written:
                    # What the model refuses is no event of the stream.
                    live.log("question", time_seconds, {"id": name, "question": query.text})
                    is_written = True
                if token.text:
                    yield {"type": "response.text.delta", "id": name, "delta": token.text}
            answer = await stream.aresult()
        finally:
            stream.cancel()
        place.ttft_seconds = answer.ttft_seconds
        self._remember(live, request.dialogue, Turn(query.text, answer.text), answer.time_seconds)
        done = {"id": name, "question": query.text, **answer_json(live, answer)}
        live.log("answer", answer.time_seconds, done)
        yield {"type": "response.text.done", "text": answer.text, **done}

    @contextmanager
    def _place(self, live: LiveSession, owner: str, name: str) -> Iterator[_Place]:
        """A question's place among the open ones, for as long as it is one; what became of it is told."""
        place = _Place()
        outcome: Outcome = "failed"
        try:
            # Nothing is awaited between the two, so that no limit is passed by many at once.
            self._check(live, owner, name)
            self._open[live.name, name] = place
            try:
                yield place
            finally:
                del self._open[live.name, name]
            outcome = "answered"
        except BaseException as error:
            outcome = _outcome_of(error)
            raise
        finally:
            for tell in self.on_outcome:
                tell(outcome, place.ttft_seconds)

    def _check(self, live: LiveSession, owner: str, name: str) -> None:
        most = self._limits.max_open_questions
        if (live.name, name) in self._open:
            raise ApiError(409, "already_open", f"question {name!r} is being answered; give each one its own id")
        if sum(session == live.name for session, _ in self._open) >= most:
            raise ApiError(429, "too_many_questions", f"{most} questions are open, the limit; wait for one")
        self.check_rate(owner)
        self._asked_at[owner].append(time.monotonic())

    def check_rate(self, owner: str) -> None:
        """Raises ApiError where one more question of a key is too many for this minute."""
        asked_at = self._asked_at.setdefault(owner, deque())
        while asked_at and time.monotonic() - asked_at[0] > _MINUTE_SECONDS:
            asked_at.popleft()
        if len(asked_at) >= self._limits.questions_per_minute:
            raise ApiError(
                429,
                "rate_limit_exceeded",
                f"{self._limits.questions_per_minute} questions a minute are the limit; wait a moment",
            )

    def _turns(self, live: LiveSession, dialogue: str | None) -> tuple[Turn, ...]:
        if dialogue is None:
            return ()
        return tuple(Turn(turn["question"], turn["answer"]) for turn in self._rows(live, dialogue))

    def _rows(self, live: LiveSession, dialogue: str) -> list[dict[str, Any]]:
        """The turns of a dialogue, oldest first."""
        rows: list[dict[str, Any]] = self._dialogues(live).get(dialogue, {}).get("turns", [])
        return rows

    def _remember(self, live: LiveSession, dialogue: str | None, turn: Turn, time_seconds: float) -> None:
        if dialogue is None:
            return
        row = {"question": turn.question, "answer": turn.answer, "time_s": time_seconds}
        self._put(live, dialogue, [*self._rows(live, dialogue), row][-_MOST_TURNS:])

    def _put(self, live: LiveSession, dialogue: str, rows: list[dict[str, Any]]) -> None:
        self._journal.put("dialogue", f"{live.name}/{dialogue}", live.name, {"turns": rows})

    def _dialogues(self, live: LiveSession) -> dict[str, dict[str, Any]]:
        records = self._journal.records("dialogue", live.name)
        return {name.partition("/")[2]: record for name, record in records.items()}


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, GeneratorExit | asyncio.CancelledError | SessionClosed):
        return "cancelled"
    return "refused" if isinstance(error, ApiError | UsageError | ContextError) else "failed"


def answer_json(live: LiveSession, answer: Answer) -> dict[str, Any]:
    """An answer as the API gives it."""
    return {
        "answer": answer.text,
        "time_s": round(answer.time_seconds, 3),
        "ttft_ms": round(answer.ttft_seconds * 1000, 3),
        "total_ms": round(answer.total_seconds * 1000, 3),
        "frames_seen": answer.frames_seen,
        "n_prompt_tokens": answer.n_prompt_tokens,
        "n_tokens": len(answer.token_ids),
        "finish_reason": answer.finish_reason,
        "memory_bytes": answer.memory_bytes,
        "evidence": [
            {
                "time_s": round(each.time_seconds, 3),
                "weight": round(each.weight, 6),
                "thumbnail": f"/v1/sessions/{live.name}/thumbnail?time_s={each.time_seconds:.3f}",
            }
            for each in answer.evidence
        ],
    }


def _basis(past: Past | None) -> dict[str, Any]:
    """What an answer about an earlier time was given from."""
    return {} if past is None else {"as_of": past.to_json()}
