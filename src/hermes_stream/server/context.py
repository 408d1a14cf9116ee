"""What every route needs: the hub, and who is asking."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from hermes_stream.server.access.client_secrets import ClientSecrets
from hermes_stream.server.alerts.alerts import Alerts
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.observe.logs import belongs_to
from hermes_stream.server.observe.metrics import Metrics
from hermes_stream.server.observe.pulse import Pulse
from hermes_stream.server.problems import ApiError
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.push.images import picture_threads
from hermes_stream.server.questions import Asker
from hermes_stream.server.settings import ServerSettings

# Who asks where no keys are configured.
ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, as its routes see it.

    decoding: threads on which pictures are decoded. ready: set while all sessions are back and it does not end.
    """

    settings: ServerSettings
    hub: Hub
    asker: Asker
    sources: Sources
    alerts: Alerts
    decoding: Executor = field(default_factory=picture_threads)
    client_secrets: ClientSecrets = field(default_factory=ClientSecrets)
    metrics: Metrics = field(default_factory=Metrics)
    pulse: Pulse = field(default_factory=Pulse)
    ready: asyncio.Event = field(default_factory=asyncio.Event)


def _any_server(connection: HTTPConnection) -> Server:
    server: Server = connection.app.state.server
    return server


def _server(connection: HTTPConnection) -> Server:
    server = _any_server(connection)
    if not server.ready.is_set():
        raise ApiError(503, "not_ready", "sessions are being brought back, or the server ends; try again in a moment")
    return server


def _owner(connection: HTTPConnection) -> str:
    """The name of the key that was shown; `auth` puts it there."""
    owner: str = connection.scope.get("hermes_stream.owner", ANYBODY)
    return owner


ServerDep = Annotated[Server, Depends(_server)]
# Also while sessions are being brought back.
AnyServerDep = Annotated[Server, Depends(_any_server)]
OwnerDep = Annotated[str, Depends(_owner)]


async def _live(session_id: str, server: ServerDep, owner: OwnerDep) -> LiveSession:
    live = await server.hub.find(session_id, owner)
    belongs_to(live.name)
    return live


LiveDep = Annotated[LiveSession, Depends(_live)]
