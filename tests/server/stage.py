"""A hub that pulls, without HTTP around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_stream import Engine
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.pull.puller import Puller
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.settings import Limits, ServerSettings, SessionSpec
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper
from hermes_stream.server.state.state_folder import StateFolder

_PATIENCE_SECONDS = 30.0


@dataclass
class Stage:
    """hub, puller: as a server has them."""

    hub: Hub
    puller: Puller

    async def open(self, source: str, **spec: Any) -> LiveSession:
        """A session that keeps all it sees, four frames a second unless said otherwise."""
        settings = {"memory": "keep-all", "fps": 4.0, "chunk": 4, **spec}
        return await self.hub.open(SessionSpec(source=source, **settings), "anybody")


@asynccontextmanager
async def stage(
    engine: Engine, *, state_dir: Path | None = None, keeps_state: bool = True, sources: Any = None, **settings: Any
) -> AsyncIterator[Stage]:
    """Until the block is left, which is a server's end; with keeps_state False its death. sources: of `Sources`."""
    folder = None if state_dir is None else StateFolder(state_dir)
    journal = Journal(None if folder is None else folder.journal_path)
    hub = Hub({"model": engine}, journal, Keeper(journal, folder, n_older=2), Limits())
    puller = Puller(Sources(ServerSettings(**settings), **(sources or {})))
    hub.before_open.append(puller.check)
    hub.on_open.append(puller.start)
    hub.on_close.append(puller.stop)
    try:
        await hub.restore_all()
        yield Stage(hub, puller)
    finally:
        puller.let_go()
        for live in hub.sessions():
            if keeps_state:
                await hub.close(live, keeps_state=True)
            else:
                await puller.stop(live)
                live.close()
        journal.close()
        if folder is not None:
            folder.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens on another thread."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
