"""Work for one client, which ends when the client goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from starlette.requests import Request

from hermes_stream.server.problems import ApiError

T = TypeVar("T")
_END = object()


class Followed(Generic[T], AsyncIterator[T]):
    """Items that a task of its own makes, so that cancelling whoever reads them leaves it time to clean up.

    `cancel()`, and dropping the object, end the task.
    """

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._is_cancelled = False
        self._task = asyncio.create_task(_put(items, self._queue))
        self._task.add_done_callback(partial(_end, self._queue))

    async def __anext__(self) -> T:
        """The next item; none after `cancel()`. Raises what the task raised."""
        item = await self._queue.get()
        if item is _END:
            self._queue.put_nowait(_END)
            if not self._task.cancelled():
                await self._task
            raise StopAsyncIteration
        result: T = item
        return result

    def cancel(self) -> None:
        """End the task; it is interrupted once, so that nothing interrupts its cleaning up."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._task.cancel()

    async def aclose(self) -> None:
        """End the task and wait until it has cleaned up; what it raises is of no interest any more."""
        self.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __del__(self) -> None:
        self.cancel()


async def _put(items: AsyncIterator[Any], queue: asyncio.Queue[Any]) -> None:
    async for item in items:
        queue.put_nowait(item)


def _end(queue: asyncio.Queue[Any], task: asyncio.Task[None]) -> None:
    """Also of a task that was cancelled before it began."""
    queue.put_nowait(_END)
    if not task.cancelled():
        # Nobody may be waiting for what it raised, and then nobody wants to hear of it.
        task.exception()


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work. Cancels it, and raises ApiError, when the client closes the connection."""
    working, going = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        going.cancel()
        working.cancel()
    if not working.done():
        await asyncio.gather(working, return_exceptions=True)
        raise ApiError(499, "cancelled", "the client closed the connection")
    return working.result()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def on_own_thread(work: Callable[[], T]) -> T:
    """The result of a call that may take long: the threads of the loop are for short ones.

    Where nobody waits for it any more, it goes on alone, and the end of the process does not wait for it either.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whatever it is, it is for who waits
            future.set_exception(error)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name="hermes-request", daemon=True).start()
    return await asyncio.wrap_future(future)
