"""Standing questions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from hermes_stream.server.alerts.alert import AlertRequest
from hermes_stream.server.context import LiveDep, ServerDep

router = APIRouter(prefix="/v1/sessions/{session_id}/alerts", tags=["alerts"])


@router.post("", status_code=201)
async def add_alert(request: AlertRequest, live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """Be told when something is so: an `alert` event, a journal entry, and a request to the webhook."""
    return server.alerts.to_json(await server.alerts.add(live, request))


@router.get("")
async def list_alerts(live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """The session's standing questions, oldest first."""
    return {"object": "list", "data": [server.alerts.to_json(alert) for alert in server.alerts.of(live)]}


@router.get("/{alert_id}")
async def get_alert(alert_id: str, live: LiveDep, server: ServerDep) -> dict[str, Any]:
    """One of them, with its newest looks (at most 512, since the server began) and hits (at most 32)."""
    return server.alerts.details(live, server.alerts.find(live, alert_id))


@router.delete("/{alert_id}", status_code=204)
async def delete_alert(alert_id: str, live: LiveDep, server: ServerDep) -> Response:
    """Look no more, and deliver no more. What it told stays in the journal, its pictures go."""
    server.alerts.remove(live, alert_id)
    return Response(status_code=204)


@router.get("/{alert_id}/hits/{number}/picture", response_class=Response)
async def hit_picture(
    alert_id: str, number: Annotated[int, Path(ge=1, lt=2**63)], live: LiveDep, server: ServerDep
) -> Response:
    """What was on screen at a hit, as JPEG; its time stands in the header x-time-s."""
    time_seconds, jpeg = server.alerts.picture(live, alert_id, number)
    headers = {"x-time-s": f"{time_seconds:.3f}", "cache-control": "private, no-store"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)
