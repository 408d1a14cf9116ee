"""The addresses at which clients push frames: one for a session that is there, one that makes its own."""

from __future__ import annotations

from fastapi import APIRouter, WebSocket
from fastapi.responses import JSONResponse

from hermes_stream.server.context import OwnerDep, Server, ServerDep
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.problems import ApiError, problem_of
from hermes_stream.server.push.channel import Channel
from hermes_stream.server.push.connection import PushClient

router = APIRouter(tags=["push"])


@router.websocket("/v1/sessions/{session_id}/stream")
async def stream(websocket: WebSocket, session_id: str, server: ServerDep, owner: OwnerDep) -> None:
    """Push to a session, ask it, listen to it. A session that is not there is answered before the handshake."""
    try:
        live = await server.hub.find(session_id, owner)
    except ApiError as error:
        problem = problem_of(error)
        await websocket.send_denial_response(JSONResponse(problem.body(), problem.status))
        return
    await _serve(websocket, server, owner, live)


@router.websocket("/v1/video/chat/stream")
async def video_chat(websocket: WebSocket, server: ServerDep, owner: OwnerDep) -> None:
    """vLLM-Omni's address: a session of the client's own, or the one that its `session.config` names."""
    await _serve(websocket, server, owner, None)


async def _serve(websocket: WebSocket, server: Server, owner: str, live: LiveSession | None) -> None:
    channel = Channel(websocket)
    client = PushClient(channel, server, owner, live)
    await channel.serve(client.hear, client.leave)
