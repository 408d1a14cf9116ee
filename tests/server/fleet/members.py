"""Servers of a fleet without HTTP, several of them on one loop, each with its own way to the same store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hermes_stream import Engine, Frame
from hermes_stream.errors import StoreError
from hermes_stream.server.alerts.alerts import Alerts
from hermes_stream.server.fleet.fleet import Fleet, Place
from hermes_stream.server.fleet.heartbeats import Heartbeats
from hermes_stream.server.fleet.lease import Leases
from hermes_stream.server.fleet.patrol import Patrol
from hermes_stream.server.fleet.routing import Routed
from hermes_stream.server.fleet.shared_checkpoints import SharedCheckpoints
from hermes_stream.server.fleet.store import FolderStore
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.pull.networks import Networks
from hermes_stream.server.settings import Limits, SessionSpec
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper

T = TypeVar("T")
_PATIENCE_SECONDS = 30.0


class Line:
    """The way to a store, which can be cut."""

    def __init__(self, store: FolderStore) -> None:
        self._store, self.is_cut = store, False

    def __getattr__(self, name: str) -> Any:
        if self.is_cut:
            raise StoreError("the shared store cannot be used: the line is cut")
        return getattr(self._store, name)


@dataclass
class Member:
    """One server. line: to the store. is_sure: as it was told last."""

    hub: Hub
    fleet: Fleet
    patrol: Patrol
    alerts: Alerts
    place: Place
    line: Line
    is_sure: bool = True

    async def open(self, name: str | None = None, owner: str = "me") -> LiveSession:
        return await self.hub.open(SessionSpec(memory="keep-all", chunk=4), owner, name=name)

    async def find_routed(self, name: str, owner: str | None = None) -> LiveSession:
        """As for a request whose header names the session."""
        return await routed(name, lambda: self.hub.find(name, owner))


@asynccontextmanager
async def member(
    engine: Engine, root: Path, name: str, *, ttl_seconds: float = 4.0, key: bytes | None = None, **limits: int
) -> AsyncIterator[Member]:
    """Until it leaves as a server does that ends."""
    line: Any = Line(FolderStore(root))
    leases = Leases(line, name)
    checkpoints = SharedCheckpoints(line, leases, key)
    place = Place(name, ttl_seconds, line, leases, checkpoints, Heartbeats(line, name, ttl_seconds))
    journal = Journal(None, is_shared=True)
    hub = Hub({"model": engine}, journal, Keeper(journal, checkpoints, n_older=2), Limits(**limits))
    fleet = Fleet(hub, place)
    made: list[Member] = []

    def on_sure(is_sure: bool) -> None:
        made[0].is_sure = is_sure

    patrol = Patrol(hub, fleet, place, on_sure)
    made.append(Member(hub, fleet, patrol, Alerts(hub, Networks(("203.0.113.0/24",))), place, line))
    await patrol.join()
    hub.elsewhere = fleet
    patrol.start()
    try:
        yield made[0]
    finally:
        await patrol.leave()
        await hub.shut_down()
        journal.close()


async def routed(name: str, work: Callable[[], Awaitable[T]]) -> T:
    """Some work as for a request whose header names this session."""
    results: list[T] = []

    async def app(*_: Any) -> None:
        results.append(await work())

    nobody: Any = None
    await Routed(app)({"type": "http", "headers": [(b"x-session-id", name.encode())]}, nobody, nobody)
    return results[0]


def frames(start: int, stop: int) -> list[Frame]:
    """One a second, each of another grey."""
    return [Frame(float(index), np.full((40, 40, 3), (40 + 8 * index) % 256, np.uint8)) for index in range(start, stop)]


async def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
