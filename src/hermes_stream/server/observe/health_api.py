"""For programs that watch the server: does it live, may it be asked, how much does it do."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from hermes_stream.server.context import AnyServerDep
from hermes_stream.server.problems import ApiError

router = APIRouter(tags=["operation"])

_PATIENCE_SECONDS = 1.0


@router.get("/health")
async def health(server: AnyServerDep) -> dict[str, Any]:
    """Whether the process lives: 200 while each model's thread answers or has work to do, else 503."""
    names, engines = list(server.hub.engines), list(server.hub.engines.values())
    found = await asyncio.gather(*(server.pulse.take(engine, _PATIENCE_SECONDS) for engine in engines))
    states = dict(zip(names, found, strict=True))
    bad = [name for name, state in states.items() if state in ("stuck", "ended")]
    if bad:
        raise ApiError(503, "not_healthy", f"the engine of {', '.join(bad)} does not answer; restart the server")
    return {"status": "ok", "engines": states}


@router.get("/ready")
async def ready(server: AnyServerDep) -> dict[str, Any]:
    """Whether models are loaded and sessions back; 503 before, and while the server ends."""
    if not server.ready.is_set():
        raise ApiError(503, "not_ready", "sessions are being brought back, or the server ends; try again in a moment")
    return {"status": "ready", "sessions": len(server.hub.sessions())}


@router.get("/metrics", response_class=Response)
async def metrics(server: AnyServerDep) -> Response:
    """Counters, gauges and histograms, in Prometheus' text format."""
    return Response(server.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
