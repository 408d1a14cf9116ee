"""A server without its HTTP: hub, journal and standing questions of one session, fed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream import Engine, Frame
from hermes_stream.server.alerts.alert import Alert, AlertRequest
from hermes_stream.server.alerts.alerts import Alerts
from hermes_stream.server.bus import Event
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.pull.networks import Networks
from hermes_stream.server.settings import Limits, SessionSpec
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper
from hermes_stream.server.state.state_folder import StateFolder
from hermes_stream.shapestream import make_script, render_frame
from hermes_stream.types import Scores

# The yellow circle is new when it comes in at 18.9 s: the model sees it first in the frame at 20 s, and of the looks in
# every fourth frame that at 23 s is the first one after it.
SEED, KIND, APPEARS_SECONDS, HIT_SECONDS = 900_200, "yellow circle", 18.9, 23.0
APPEARED = f"Has a {KIND} appeared by now?"
_SCRIPT = make_script(SEED, 64)
_PATIENCE_SECONDS = 30


def frames(start: int, stop: int) -> list[Frame]:
    """Of the stream, one a second; as large as a camera's."""
    return [Frame(float(second), render_frame(_SCRIPT, float(second), 1280, 720)) for second in range(start, stop)]


@dataclass
class Running:
    """One session of a server. events: what was told in it."""

    hub: Hub
    journal: Journal
    alerts: Alerts
    live: LiveSession
    events: list[Event]

    async def add(self, question: str = APPEARED, **options: Any) -> Alert:
        return await self.alerts.add(self.live, AlertRequest(question=question, **options))

    async def watch(self, start: int, stop: int) -> None:
        """Frame after frame, as a camera slower than the engine brings them: after each one all looks are over."""
        for frame in frames(start, stop):
            await asyncio.to_thread(self.live.watch, [frame])
            await self.settle()

    async def settle(self) -> None:
        """Until nothing is on its way and nobody looks."""
        await until(lambda: not self.live.session.stats.waiting_frames)
        # The engine's thread has told of the newest frame when it does something else.
        await asyncio.to_thread(self.live.session.check_invariants)
        await asyncio.sleep(0)
        await until(lambda: not self.alerts._looks[self.live.name]._tasks)
        # From the bus to who listens: a round of the loop each.
        for _ in range(4):
            await asyncio.sleep(0)

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]


@asynccontextmanager
async def running(
    engine: Engine, folder: Path | None = None, *, dies: bool = False, limits: Limits | None = None, chunk: int = 4
) -> AsyncIterator[Running]:
    """The session of a state folder, or a new one. dies: nothing is written down at the end, as after `kill -9`."""
    state = None if folder is None else StateFolder(folder)
    journal = Journal(None if state is None else state.journal_path)
    hub = Hub({engine.model.name: engine}, journal, Keeper(journal, state, n_older=2), limits or Limits())
    alerts = Alerts(hub, Networks(["127.0.0.0/8"]))
    await hub.restore_all()
    live = hub.sessions()[0] if hub.sessions() else await hub.open(SessionSpec(chunk=chunk, memory="keep-all"), "me")
    events: list[Event] = []
    listening = asyncio.create_task(_listen(live, events))
    delivering = asyncio.create_task(alerts.webhooks.run())
    try:
        yield Running(hub, journal, alerts, live, events)
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        if dies:
            live.session.on_arrival(None)
            live.close()
        else:
            await hub.shut_down()
        await listening
        journal.close()
        if state is not None:
            state.close()


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test, _PATIENCE_SECONDS)

    asyncio.run(limited())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def hold_looks(server: Running) -> asyncio.Event:
    """Looks from now on are asked for at once, and known only when the event is set."""
    session, may_end = server.live.session, asyncio.Event()

    class Held:
        def __init__(self, *question: Any) -> None:
            self._scores = score(*question)

        async def aresult(self) -> Scores:
            await may_end.wait()
            return await self._scores.aresult()

    score, session.score = session.score, Held  # type: ignore[method-assign, assignment]
    return may_end


async def _listen(live: LiveSession, events: list[Event]) -> None:
    with live.bus.listen() as listener:
        async for event in listener:
            # As it comes, not all at the end.
            events.append(event)  # noqa: PERF401
