"""What every route needs: the hub, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import LiveSession
from hermes_stream.server.questions import Asker
from hermes_stream.server.settings import ServerSettings
from hermes_stream.server.sources import Sources

# Who asks where no keys are configured.
ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, as its routes see it."""

    settings: ServerSettings
    hub: Hub
    asker: Asker
    sources: Sources


def _server(connection: HTTPConnection) -> Server:
    server: Server = connection.app.state.server
    return server


def _owner(connection: HTTPConnection) -> str:
    """The name of the key that was shown; `auth` puts it there."""
    owner: str = connection.scope.get("hermes_stream.owner", ANYBODY)
    return owner


ServerDep = Annotated[Server, Depends(_server)]
OwnerDep = Annotated[str, Depends(_owner)]


async def _live(session_id: str, server: ServerDep, owner: OwnerDep) -> LiveSession:
    return await server.hub.find(session_id, owner)


LiveDep = Annotated[LiveSession, Depends(_live)]
