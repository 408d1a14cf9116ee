"""`WS /v1/realtime`: texts and pictures of OpenAI's realtime clients, in a session of their own or in another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, WebSocket
from pydantic import ValidationError

from hermes_stream.server.context import OwnerDep, Server, ServerDep
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.openai_api.answers import check_model, passing_session
from hermes_stream.server.openai_api.realtime_connection import RealtimeConnection
from hermes_stream.server.problems import refusal
from hermes_stream.server.settings import SessionSpec

router = APIRouter(prefix="/v1")

_SUBPROTOCOL = "realtime"


@router.websocket("/realtime")
async def realtime(
    websocket: WebSocket,
    server: ServerDep,
    owner: OwnerDep,
    model: str | None = None,
    session_id: str | None = None,
    memory: str | None = None,
    budget: str | None = None,
) -> None:
    """A conversation about a session. memory, budget: of a session of one's own; without `session_id` there is one."""
    given = {"model": model, "memory": memory, "budget": budget}
    async with _session(server, owner, session_id, given) as live:
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in websocket.scope["subprotocols"] else None)
        await RealtimeConnection(websocket, server, owner, live).run()


@asynccontextmanager
async def _session(
    server: Server, owner: str, name: str | None, given: dict[str, str | None]
) -> AsyncIterator[LiveSession]:
    """Raises ApiError for a session or a model that is not there: the handshake is refused with its status."""
    if name is not None:
        live = await server.hub.find(name, owner)
        if given["model"] is not None:
            check_model(server.hub, given["model"], live)
        yield live
        return
    try:
        spec = SessionSpec.model_validate({key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        raise refusal(error) from error
    async with passing_session(server.hub, spec, owner) as live:
        yield live
