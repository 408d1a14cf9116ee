"""How sessions stand, told once a second to those who listen."""

from __future__ import annotations

import asyncio
from typing import Any

from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession

_TICK_SECONDS = 1.0


async def tell_stats(hub: Hub) -> None:
    """Publish `stats` of every session that somebody listens to, until cancelled."""
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        for live in hub.sessions():
            if live.bus.has_listeners:
                live.bus.publish("stats", stats_json(live))


def stats_json(live: LiveSession) -> dict[str, Any]:
    """The numbers that move. held_tokens: of the layer that holds most."""
    stats = live.session.stats
    return {
        "time_s": round(stats.time_seconds, 3),
        "frames_seen": stats.frames_seen,
        "frames_dropped": live.frames_dropped,
        "lag_s": round(stats.lag_seconds, 3),
        "memory_bytes": stats.memory_bytes,
        "held_tokens": max(stats.held_tokens, default=0),
        "waiting_frames": stats.waiting_frames,
    }
