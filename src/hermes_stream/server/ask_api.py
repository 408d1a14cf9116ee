"""Questions over HTTP: one JSON object, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from hermes_stream.server.context import LiveDep, OwnerDep, ServerDep
from hermes_stream.server.following import unless_gone
from hermes_stream.server.problems import problem_of
from hermes_stream.server.questions import AskRequest
from hermes_stream.server.reference import JSON_OR_EVENTS

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["questions"])


@router.post("/ask", response_model=None, responses=JSON_OR_EVENTS)
async def ask(
    request: AskRequest, connection: Request, live: LiveDep, server: ServerDep, owner: OwnerDep
) -> dict[str, Any] | EventSourceResponse:
    """Ask about everything seen so far. Closing the connection cancels the answer."""
    events = server.asker.ask(live, owner, request)
    if request.stream:
        # The first event here, so that what is refused has its own status.
        first = await anext(events)
        return EventSourceResponse(_sent(first, events))
    last = await unless_gone(connection, _last(events))
    return {name: value for name, value in last.items() if name not in ("type", "text")}


@router.delete("/questions/{question_id}", status_code=204)
async def cancel(question_id: str, live: LiveDep, server: ServerDep) -> Response:
    """Stop an answer that is being given."""
    server.asker.cancel(live, question_id)
    return Response(status_code=204)


async def _last(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return [event async for event in events][-1]


async def _sent(first: dict[str, Any], events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    yield _event(first)
    try:
        async for event in events:
            yield _event(event)
    except Exception as error:  # the status is sent already: it is told as an event
        yield _event({"type": "error", **problem_of(error).body()})


def _event(event: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(event, ensure_ascii=False), event=event["type"])
