"""One WebSocket: events go out without anybody waiting for them, and all that goes on for its client ends with it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

_log = logging.getLogger(__name__)

NOT_READ, NO_FEED, NO_SESSION, MOVED = 4408, 4409, 4410, 4411
GOING_AWAY, FAILED = 1001, 1011
_MOST_WAITING = 1024
# For what fits into the buffers between us and a client that reads, a moment is enough.
_SEND_SECONDS = 20.0
_FLUSH_SECONDS = 5.0
_CLOSE_SECONDS = 30.0
# What a close frame has room for.
_MOST_REASON_BYTES = 120
# What sending raises where nobody is connected any more.
_GONE = (WebSocketDisconnect, RuntimeError, OSError)
# Browsers, which can set no headers, hide their key among the sub-protocols: it is not to be sent back.
_KEY_PROTOCOL = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection is ended from here. code: of WebSocket. reason: one line."""

    code: int
    reason: str = ""


class Channel:
    """A client that is connected; used on the server's loop.

    Events wait in a bounded queue. A client that does not take them is closed with 4408.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_accepted = asyncio.Event()
        self._end: asyncio.Future[Close | None] = asyncio.get_running_loop().create_future()

    def put(self, event: dict[str, Any]) -> None:
        """Send an event after all that were put in before; never waits."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            self._is_stuck()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that goes on for the client, and is cancelled when the connection ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def stop(self, close: Close | None) -> None:
        """End the connection; the first to say so is heard. close: None where the client has ended it."""
        if not self._end.done():
            self._end.set_result(close)

    async def serve(
        self, hear: Callable[[dict[str, Any]], Awaitable[None]], leave: Callable[[], Awaitable[None]]
    ) -> None:
        """Accept, and talk until one of the two ends it.

        hear: called with one message of the client after the other, as ASGI has them. leave: called once nothing that
        was spawned goes on, and before a client that must go is told so: what it held is free then.
        """
        writer = asyncio.create_task(self._write())
        try:
            close = await self._talk(hear, leave)
            if close is not None and close.code != NOT_READ:
                await self._flush(writer)
            if close is not None:
                await self._say_goodbye(close)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _talk(
        self, hear: Callable[[dict[str, Any]], Awaitable[None]], leave: Callable[[], Awaitable[None]]
    ) -> Close | None:
        try:
            await self._websocket.accept(protocol_to_accept(self._websocket.scope.get("subprotocols", ())))
            self._is_accepted.set()
            self.spawn(self._read(hear))
            return await self._end
        finally:
            # Also where the server cannot wait for it, what the client held must become free.
            self._cleaning = asyncio.create_task(self._clean_up(leave))
            await asyncio.shield(self._cleaning)

    async def _read(self, hear: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            await hear(dict(message))
            # One who says much must not keep the others from their turn.
            await asyncio.sleep(0)
        self.stop(None)

    async def _write(self) -> None:
        await self._is_accepted.wait()
        while True:
            event = await self._events.get()
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await self._websocket.send_text(json.dumps(event))
            except TimeoutError:
                self._is_stuck()
                return
            except _GONE:
                # The client is gone; that is heard by whoever reads.
                return
            self._events.task_done()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("a connection failed: %s", error, exc_info=error)
            self.stop(Close(FAILED, "something went wrong on the server; its log says what"))

    async def _clean_up(self, leave: Callable[[], Awaitable[None]]) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await leave()

    def _is_stuck(self) -> None:
        self.stop(Close(NOT_READ, "you do not read what you are sent"))

    async def _flush(self, writer: asyncio.Task[None]) -> None:
        """What the client is still owed, as long as somebody can write it."""
        sent = asyncio.create_task(self._events.join())
        await asyncio.wait((sent, writer), timeout=_FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        sent.cancel()

    async def _say_goodbye(self, close: Close) -> None:
        """Why the client must go. One that does not read keeps only this waiting."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._websocket.close(close.code, close_reason(close.reason))
        except (TimeoutError, *_GONE) as error:
            _log.info("a client was gone before it was told to go: %r", error)


def close_reason(text: str) -> str:
    """As much of a reason as a close frame has room for."""
    return text.encode()[:_MOST_REASON_BYTES].decode("utf-8", "ignore")


def protocol_to_accept(offered: Sequence[str]) -> str | None:
    """The sub-protocol to answer with: `realtime`, or the first that is none of those that carry a key."""
    plain = [name for name in offered if not name.startswith(_KEY_PROTOCOL)]
    return "realtime" if "realtime" in plain else next(iter(plain), None)
