"""Runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import warnings
from collections.abc import Mapping
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hermes_stream.engine.engine import Engine
from hermes_stream.server.app import make_app
from hermes_stream.server.context import Server
from hermes_stream.server.settings import ServerSettings

_log = logging.getLogger(__name__)

# Beyond the largest frame: JSON around base64.
_MESSAGE_SHARE = 1.5
_MOST_HEADER_BYTES = 32 * 1024
# For answers that are being given. Sessions are saved after that, however long it takes.
_SHUT_DOWN_SECONDS = 3
_GOODBYE_SECONDS, _POLL_SECONDS = 1.0, 0.02


class _Running(uvicorn.Server):
    """Says where it listens once sessions are back; ends what never would by itself; obeys a second signal at once."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._announcement: asyncio.Task[None] | None = None

    @property
    def _server(self) -> Server:
        server: Server = self._app.state.server
        return server

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announcement = asyncio.create_task(self._announce())

    async def _announce(self) -> None:
        await self._server.ready.wait()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _log.info("ending: no new requests, %d sessions are saved", len(self._server.hub.sessions()))
        self._server.ready.clear()
        self._server.hub.end_events()
        if self._server.hub.elsewhere is not None:
            await self._say_goodbye()
        await super().shutdown(sockets)
        _log.info("ended")

    async def _say_goodbye(self) -> None:
        """Clients are told by us that their sessions move; uvicorn would cut them off without a reason."""
        until = time.monotonic() + _GOODBYE_SECONDS
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(_POLL_SECONDS)

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """On a signal. uvicorn would raise it again when all is done, and the process would die of it."""
        if self.should_exit:
            _log.warning("a second signal: ending without saving")
            os._exit(128 + sig)
        self.should_exit = True


def serve(settings: ServerSettings, engines: Mapping[str, Engine], sockets: list[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT, then save all sessions. The log says `listening on` once questions can be asked.

    sockets: what `reach.bind` took. Raises HermesError for settings and state folders with which nothing can be served.
    """
    # Pillow warns of damaged pictures; here they come from strangers, and are refused in a word of our own.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    app = make_app(settings, engines)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # The only parser with a limit on headers.
        http="h11",
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
        lifespan="on",
        ws_max_size=int(settings.limits.max_frame_bytes * _MESSAGE_SHARE),
        timeout_graceful_shutdown=_SHUT_DOWN_SECONDS,
        # An answer to a ping stands behind the frames that a slow line still has to carry.
        ws_ping_timeout=60,
        # What comes is compressed already.
        ws_per_message_deflate=False,
        server_header=False,
    )
    _Running(config, app).run(sockets)
