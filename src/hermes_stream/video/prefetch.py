"""One thread that works ahead of its consumer through a bounded queue; no other file of `video/` starts threads."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from hermes_stream.errors import ConfigError

ItemT = TypeVar("ItemT")

_CLOSE_WAIT_SECONDS = 1.0


class _Shared(Generic[ItemT]):
    """What thread and consumer share; it does not know the `Prefetcher`, so that a forgotten one is collected."""

    def __init__(self, capacity: int, *, is_live: bool) -> None:
        self.capacity = capacity
        self.is_live = is_live
        self.changed = threading.Condition()
        self.items: deque[ItemT] = deque()
        self.n_dropped = 0
        self.error: BaseException | None = None
        self.is_ended = False
        self.is_closed = False

    def put(self, item: ItemT) -> bool:
        """Queue one item; False if nobody wants more. Waits for room, or in live mode makes it."""
        with self.changed:
            if self.is_live and len(self.items) >= self.capacity:
                self.items.popleft()
                self.n_dropped += 1
            self.changed.wait_for(lambda: self.is_closed or len(self.items) < self.capacity)
            if self.is_closed:
                return False
            self.items.append(item)
            self.changed.notify_all()
            return True

    def take(self) -> ItemT:
        """The oldest waiting item. Raises the producer's error after its last item, StopIteration at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.is_ended or self.is_closed)
            if self.items and not self.is_closed:
                item = self.items.popleft()
                self.changed.notify_all()
                return item
            error, self.error = self.error, None
        if error is not None:
            raise error
        raise StopIteration

    def end(self, error: BaseException | None) -> None:
        with self.changed:
            self.error = None if self.is_closed else error
            self.is_ended = True
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.items.clear()
            self.error = None
            self.changed.notify_all()


class Prefetcher(Generic[ItemT]):
    """An iterator whose items are made ahead of time by one daemon thread.

    items: iterated in the thread, which also runs `on_finish` when it is done with them, whatever the reason.
    capacity: items that may wait, at least 1.
    is_live: False waits for room and drops nothing; True never waits and drops the oldest waiting item instead.
    Guarantees: order is kept; an exception of `items` reaches the consumer after the items before it; `close()` ends
    both sides, also while they wait. A thread that is inside `items` (a silent network) ends when that returns.
    """

    def __init__(
        self,
        items: Iterable[ItemT],
        capacity: int,
        *,
        is_live: bool = False,
        on_finish: Callable[[], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ConfigError(f"prefetch is {capacity}; at least 1 must be able to wait")
        self._shared: _Shared[ItemT] = _Shared(capacity, is_live=is_live)
        self._thread = threading.Thread(
            target=_produce, args=(items, self._shared, on_finish), name="hermes-prefetch", daemon=True
        )
        self._stop = weakref.finalize(self, _stop, self._shared, self._thread)
        self._thread.start()

    @property
    def n_dropped(self) -> int:
        """Items dropped because nobody took them in time; always 0 unless live."""
        return self._shared.n_dropped

    @property
    def is_running(self) -> bool:
        """Whether the thread still lives."""
        return self._thread.is_alive()

    def __iter__(self) -> Iterator[ItemT]:
        return self

    def __next__(self) -> ItemT:
        return self._shared.take()

    def end(self) -> None:
        """End the iteration; the thread follows when it can."""
        self._shared.close()

    def close(self) -> None:
        """End the iteration and the thread; waits for the thread, but no longer than a second."""
        self._stop()


def _stop(shared: _Shared[ItemT], thread: threading.Thread) -> None:
    shared.close()
    # The garbage collector may run this in the thread itself.
    if thread is not threading.current_thread() and thread.is_alive():
        thread.join(_CLOSE_WAIT_SECONDS)


def _produce(items: Iterable[ItemT], shared: _Shared[ItemT], on_finish: Callable[[], None] | None) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not shared.put(item):
                break
    except BaseException as raised:  # whatever it is, it travels to the consumer
        error = raised
    try:
        if on_finish is not None:
            on_finish()
    except BaseException as raised:
        error = error or raised
    shared.end(error)
