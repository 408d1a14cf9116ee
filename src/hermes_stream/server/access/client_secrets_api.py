"""Client secrets over HTTP, in the shape that OpenAI's clients expect."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hermes_stream.server.context import OwnerDep, ServerDep

router = APIRouter(prefix="/v1/realtime", tags=["realtime"])

_N_NAME_BYTES = 8


class ExpiresAfter(BaseModel):
    """When a client secret ends. A session that began with it may go on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class SecretRequest(BaseModel):
    """A client secret. session: given back as it came; `session.update` configures a realtime session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expires_after: ExpiresAfter = ExpiresAfter()
    session: dict[str, Any] = Field(default_factory=dict)


@router.post("/client_secrets")
async def create_client_secret(request: SecretRequest, server: ServerDep, owner: OwnerDep) -> dict[str, Any]:
    """Make a secret for a browser, to be shown instead of a key until it ends."""
    value, expires_at = server.client_secrets.issue(owner, request.expires_after.seconds)
    session = {
        "type": "realtime",
        "model": next(iter(server.hub.engines)),
        **request.session,
        "object": "realtime.session",
        "id": f"sess_{secrets.token_hex(_N_NAME_BYTES)}",
        "expires_at": 0,
    }
    return {"value": value, "expires_at": expires_at, "session": session}
