"""Chat completions and models, for OpenAI's clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse

from hermes_stream.engine.engine import Engine
from hermes_stream.server.context import OwnerDep, ServerDep
from hermes_stream.server.following import Followed, unless_gone
from hermes_stream.server.openai_api.answers import answer
from hermes_stream.server.openai_api.chat_request import ChatRequest, parse_chat
from hermes_stream.server.openai_api.completion import chunks, completion
from hermes_stream.server.reference import JSON_OR_EVENTS

router = APIRouter(prefix="/v1", tags=["openai"])

# The body is read on a thread, as it may hold a video; the description is where FastAPI would have put it.
_PLACE = "#/paths/~1v1~1chat~1completions/post/requestBody/content/application~1json/schema/$defs/{model}"
_SCHEMA = ChatRequest.model_json_schema(ref_template=_PLACE)
_BODY = {"content": {"application/json": {"schema": _SCHEMA}}, "required": True}


@router.get("/models")
async def list_models(server: ServerDep) -> dict[str, Any]:
    """The models that are served, the default one first."""
    return {"object": "list", "data": [_model(name, engine) for name, engine in server.hub.engines.items()]}


@router.get("/models/{model_id:path}")
async def get_model(model_id: str, server: ServerDep) -> dict[str, Any]:
    """One of them."""
    return _model(model_id, server.hub.engine(model_id))


@router.post("/chat/completions", response_model=None, responses=JSON_OR_EVENTS, openapi_extra={"requestBody": _BODY})
async def create_completion(
    request: Request, server: ServerDep, owner: OwnerDep
) -> dict[str, Any] | EventSourceResponse:
    """Ask a session (`session_id`), or about pictures and videos in the messages. Closing the connection cancels."""
    chat = await asyncio.to_thread(parse_chat, await request.body())
    events = Followed(answer(server, owner, chat))
    if not chat.stream:
        return completion(chat.model, await unless_gone(request, _last(events)))
    # The first token here, so that what is refused has its own status.
    begun = await unless_gone(request, _begun(events))
    return EventSourceResponse(chunks(chat.model, *begun, events, with_usage=chat.stream_options.include_usage))


async def _begun(events: AsyncIterator[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    return await anext(events), await anext(events)


async def _last(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return [event async for event in events][-1]


def _model(name: str, engine: Engine) -> dict[str, Any]:
    defaults = engine.defaults
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "hermes-stream",
        "hermes": {
            "family": engine.model.family,
            "max_positions": engine.model.max_positions,
            "fps": defaults.fps,
            "chunk": defaults.chunk_frames,
            "budget": defaults.budget_tokens,
        },
    }
