"""Questions that are open at once, and their answers as far as they have come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.engine.answer import AnswerStream
    from hermes_stream.engine.session import Session
    from hermes_stream.types import Answer, Query


@dataclass(eq=False, slots=True)
class Exchange:
    """A question and what was answered so far. Written by one thread, read by any.

    time_seconds: stream time of the newest frame when it was asked. answer: once complete. error: what went wrong.
    """

    question: str
    time_seconds: float
    text: str = ""
    ttft_seconds: float | None = None
    answer: Answer | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.answer is not None or self.error is not None


class Conversation:
    """Asks a session, any number of questions at once and from any thread.

    exchanges: in the order of asking; the owner removes what it has dealt with.
    on_done: called once per question, when its answer is complete or has failed.
    """

    def __init__(self, session: Session, *, remember: bool, on_done: Callable[[Exchange], None]) -> None:
        self.exchanges: list[Exchange] = []
        self.n_asked = 0
        self.ttft_seconds: float | None = None
        self._session = session
        self._remember = remember
        self._on_done = on_done
        self._asking = threading.Lock()

    def ask(self, query: Query) -> None:
        """Ask about everything watched so far; returns at once."""
        with self._asking:
            exchange = Exchange(query.text, self._session.memory.time_seconds)
            stream = self._session.ask(query, remember=self._remember)
            self.exchanges.append(exchange)
            self.n_asked += 1
        # A thread each: an answer can only be waited for. A daemon, because the engine ends what it still waits for.
        threading.Thread(target=self._listen, args=(exchange, stream), name="hermes-answer", daemon=True).start()

    def _listen(self, exchange: Exchange, stream: AnswerStream) -> None:
        try:
            for event in stream:
                if exchange.ttft_seconds is None:
                    exchange.ttft_seconds = self.ttft_seconds = event.seconds_since_ask
                exchange.text += event.text
            answer = stream.result()
            exchange.text, exchange.time_seconds = answer.text, answer.time_seconds
            exchange.answer = answer
        except Exception as error:  # it belongs to this question alone: the others go on
            exchange.error = error if isinstance(error, HermesError) else HermesError(f"the answer failed: {error!r}")
        self._on_done(exchange)
