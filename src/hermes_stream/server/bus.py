"""What happens in a session, told to whoever listens; nobody who listens slowly holds anything up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

# Of a listener that does not keep up: the oldest go, and it is told how many.
_MOST_WAITING = 256


@dataclass(frozen=True, slots=True)
class Event:
    """kind: as in "gap". data: JSON. number: of the journal's entry, where there is one."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    number: int | None = None


class Bus:
    """Events of one session. `publish` may be called on any thread, everything else on the loop's.

    taps: told of every event, on the loop; they miss none and must be quick.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.taps: list[Callable[[Event], None]] = []
        self._listeners: set[Listener] = set()
        self._is_closed = False

    def publish(self, kind: str, data: dict[str, Any] | None = None, number: int | None = None) -> None:
        """Tell everybody who listens now."""
        event = Event(kind, data or {}, number)
        try:
            self._loop.call_soon_threadsafe(self._fan_out, event)
        except RuntimeError:
            # The loop is gone, and with it all who listened.
            self._is_closed = True

    def listen(self) -> Listener:
        """Whatever is published from now on. Leave it as a context manager to stop."""
        listener = Listener(self)
        self._listeners.add(listener)
        if self._is_closed:
            listener.end()
        return listener

    @property
    def has_listeners(self) -> bool:
        return bool(self._listeners)

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def close(self, last: Event | None = None) -> None:
        """No more events: those who listen come to an end. last: what they hear before."""
        if last is not None and not self._is_closed:
            self._fan_out(last)
        self._is_closed = True
        for listener in list(self._listeners):
            listener.end()

    def _fan_out(self, event: Event) -> None:
        for tap in self.taps:
            tap(event)
        for listener in self._listeners:
            listener.put(event)


class Listener:
    """One listener's queue: bounded, the oldest events give way, and an event `missed` says how many did."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._events: list[Event] = []
        self._n_missed = 0
        self._is_ended = False
        self._changed = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self._events) >= _MOST_WAITING:
            del self._events[0]
            self._n_missed += 1
        self._events.append(event)
        self._changed.set()

    def end(self) -> None:
        self._is_ended = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while self._events or not self._is_ended:
            if not self._events:
                self._changed.clear()
                await self._changed.wait()
                continue
            if self._n_missed:
                n_missed, self._n_missed = self._n_missed, 0
                yield Event("missed", {"n": n_missed})
            yield self._events.pop(0)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.leave(self)
