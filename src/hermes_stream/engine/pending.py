"""What was asked of the engine and is on its way: the asker's half, for threads and for event loops alike.

Nobody polls, and a question takes no thread: a thread waits for a condition, a task for a future of its own loop, which
the engine's thread resolves through the loop.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Generic, Self, TypeVar

from hermes_stream.errors import SessionClosed
from hermes_stream.types import Query

_Event = TypeVar("_Event")
_Result = TypeVar("_Result")


class Delivery(Generic[_Event, _Result]):
    """Events, then one outcome, from the engine's thread to whoever takes them: threads, and tasks of any loops.

    Each event goes to one taker, the outcome to all. Who puts never waits for a taker, nor fails because of one.
    """

    def __init__(self) -> None:
        self._events: deque[_Event] = deque()
        self._outcome: _Result | BaseException | None = None
        self._changed = threading.Condition()
        self._sleepers: list[asyncio.Future[None]] = []

    @property
    def outcome(self) -> _Result | BaseException | None:
        """The result, or what went wrong; None before the end."""
        return self._outcome

    def put(self, event: _Event) -> None:
        """Let one taker have this."""
        with self._changed:
            self._events.append(event)
            self._changed.notify()
            sleepers, self._sleepers = self._sleepers, []
        _wake(sleepers)

    def end(self, outcome: _Result | BaseException) -> None:
        """Nothing comes after what was put."""
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()
            sleepers, self._sleepers = self._sleepers, []
        _wake(sleepers)

    def take(self) -> _Event | None:
        """The next event, once there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(self._is_ready)
            return self._events.popleft() if self._events else None

    async def atake(self) -> _Event | None:
        """The same, in an event loop."""
        while True:
            with self._changed:
                if self._is_ready():
                    return self._events.popleft() if self._events else None
                sleeper = asyncio.get_running_loop().create_future()
                self._sleepers.append(sleeper)
            # All who sleep are woken for one event: those who come too late sleep again.
            await sleeper

    def _is_ready(self) -> bool:
        return bool(self._events) or self._outcome is not None


def _wake(sleepers: list[asyncio.Future[None]]) -> None:
    for sleeper in sleepers:
        # A loop that was closed meanwhile: nobody waits in it any more.
        with suppress(RuntimeError):
            sleeper.get_loop().call_soon_threadsafe(_resolve, sleeper)


def _resolve(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class Pending(Generic[_Event, _Result]):
    """Something that was asked; `result()` waits for the whole of it, `await aresult()` does in an event loop.

    Dropping the object, `close()` or leaving it as a context manager cancels what is not finished, and so does
    cancelling a task that waits for it.
    """

    def __init__(self, query: Query) -> None:
        self.query = query
        self._asked_at = time.perf_counter()
        self._delivery: Delivery[_Event, _Result] = Delivery()
        self._cancelled = threading.Event()

    def result(self) -> _Result:
        """Wait for the whole. Raises what went wrong in the engine, SessionClosed if it was cancelled."""
        while self._delivery.take() is not None:
            pass
        return self._result()

    async def aresult(self) -> _Result:
        """The same, in an event loop."""
        while await self._atake() is not None:
            pass
        return self._result()

    def cancel(self) -> None:
        """Let the engine stop soon. What came before can still be read."""
        self._cancelled.set()

    close = cancel

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self.cancel()

    async def _atake(self) -> _Event | None:
        try:
            return await self._delivery.atake()
        except asyncio.CancelledError:
            self.cancel()
            raise

    def _result(self) -> _Result:
        outcome = self._delivery.outcome
        if outcome is None or isinstance(outcome, BaseException):
            raise outcome or SessionClosed("it ended without a result")
        return outcome


class Channel(Generic[_Event, _Result]):
    """From the engine to a `Pending`, without keeping the asker's object alive: a dropped one cancels itself."""

    def __init__(self, pending: Pending[_Event, _Result]) -> None:
        self._delivery = pending._delivery
        self._cancelled = pending._cancelled
        self._asked_at = pending._asked_at

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def seconds_since_ask(self) -> float:
        return time.perf_counter() - self._asked_at

    def put(self, event: _Event) -> None:
        """Send what came, before the end."""
        self._delivery.put(event)

    def end(self, outcome: _Result | BaseException) -> None:
        """Send the result, or what went wrong."""
        self._delivery.end(outcome)
