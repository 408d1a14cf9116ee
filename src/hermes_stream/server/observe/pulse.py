"""Whether an engine's thread still takes work: it is asked to do nothing, and the answer is awaited for a while."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Literal

from hermes_stream.engine.engine import Engine
from hermes_stream.errors import SessionClosed

# A forward of a large model on a CPU takes seconds, between which the thread answers; nothing takes as long as this.
_STUCK_SECONDS = 60.0

Beat = Literal["answers", "busy", "stuck", "ended"]


class Pulse:
    """Takes the pulse of engines; one question at a time of each waits for its answer. Used on the server's loop."""

    def __init__(self) -> None:
        self._asked: dict[Engine, tuple[Future[None], float]] = {}

    async def take(self, engine: Engine, patience_seconds: float) -> Beat:
        """`answers` within the patience given; `busy` with a forward; `stuck` for a minute; `ended` for good."""
        try:
            asked, since = self._asked.get(engine) or (engine.ping(), time.monotonic())
        except SessionClosed:
            return "ended"
        self._asked[engine] = asked, since
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), patience_seconds)
        except TimeoutError:
            return "stuck" if time.monotonic() - since > _STUCK_SECONDS else "busy"
        except SessionClosed:
            return "ended"
        self._asked.pop(engine, None)
        return "answers"
