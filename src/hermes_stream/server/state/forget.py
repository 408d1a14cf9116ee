"""Deletes a time range of a session, wherever something of it is kept, and says what no deletion can undo."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.state.rebuild import watch_again

_REMAINS = (
    "answers given later may speak of it",
    "what was sent to clients, web hooks and forks, and snapshots that were downloaded",
)


class ForgetRequest(BaseModel):
    """start_s, end_s: the range of the stream, its end not included. rebuild: watch the rest again without it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start_s: float = Field(ge=0)
    end_s: float = Field(gt=0)
    rebuild: bool = False


async def forget(hub: Hub, sources: Sources, live: LiveSession, request: ForgetRequest) -> dict[str, Any]:
    """Delete; returns how much went from where, and `remains`: one line for each thing that stays.

    Raises ApiError for a range that is none, and HermesError, with everything but the rebuilding done, where the source
    cannot be watched again.
    """
    start, end = request.start_s, request.end_s
    if not start < end:
        raise ApiError(
            400, "invalid_request", f"the range {start:g} to {end:g} s is empty; end_s must be after start_s"
        )
    removed = await asyncio.to_thread(live.session.forget, start, end)
    n_thumbnails = live.forget(start, end)
    for tell in hub.on_forget:
        tell(live, start, end)
    # Last, because it also takes what others deleted out of the journal's file.
    n_entries = live.journal.forget(live.name, start, end)
    folder, n_snapshots = hub.keeper.folder, 0
    if folder is not None:
        n_snapshots = await asyncio.to_thread(folder.drop_since, live.name, start)
        await hub.keeper.save(live, even_unchanged=True)
    remains = removed.remains
    if request.rebuild:
        old, remains = live, ()
        live = await hub.exchange(old, lambda: watch_again(old, sources, start, end))
        if folder is not None:
            await asyncio.to_thread(folder.drop_since, live.name, start)
            await hub.keeper.save(live, even_unchanged=True)
    live.log("deleted", None, {"start_s": start, "end_s": end, "rebuilt": request.rebuild})
    counts = {name: value for name, value in asdict(removed).items() if name != "remains"}
    return {
        **counts,
        "thumbnails": n_thumbnails,
        "journal_entries": n_entries,
        "snapshots": n_snapshots,
        "remains": [*remains, *_REMAINS],
    }
