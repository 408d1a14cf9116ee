"""Runs the server until it is told to stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import uvicorn

from hermes_stream.engine.engine import Engine
from hermes_stream.server.app import make_app
from hermes_stream.server.settings import ServerSettings

# Beyond the largest frame: JSON around base64.
_MESSAGE_SHARE = 1.5
_SHUT_DOWN_SECONDS = 10


class _Announcing(uvicorn.Server):
    """Tells where it listens once it does: with port 0 nobody knows before."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")


def serve(settings: ServerSettings, engines: Mapping[str, Engine], on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then save all sessions. on_ready: told the address once it is open.

    Raises ConfigError for settings with which nothing can be served.
    """
    # Pillow warns of damaged pictures; here they come from strangers, and are refused in a word of our own.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    config = uvicorn.Config(
        make_app(settings, engines),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        ws_max_size=int(settings.limits.max_frame_bytes * _MESSAGE_SHARE),
        timeout_graceful_shutdown=_SHUT_DOWN_SECONDS,
        # An answer to a ping stands behind the frames that a slow line still has to carry.
        ws_ping_timeout=60,
        # What comes is compressed already.
        ws_per_message_deflate=False,
        server_header=False,
    )
    _Announcing(config, on_ready).run()
