"""Whether a request came here because its session belongs here: whoever routed it says so in a header."""

from __future__ import annotations

import re
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes_stream.server.problems import ApiError

SESSION_HEADER = "x-session-id"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_ROUTED: ContextVar[str | None] = ContextVar("hermes_stream_routed", default=None)


class Routed:
    """Remembers the header for as long as the request goes on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = Headers(scope=scope).get(SESSION_HEADER) if scope["type"] in ("http", "websocket") else None
        token = _ROUTED.set(name)
        try:
            await self._app(scope, receive, send)
        finally:
            _ROUTED.reset(token)


def is_name(text: str) -> bool:
    """Whether a session may be called so; it is part of a path in the store."""
    return _NAME.fullmatch(text) is not None


def is_routed(name: str) -> bool:
    """Whether the request that is being answered was routed by this session's id."""
    return _ROUTED.get() == name


def wanted_name() -> str | None:
    """What the client wants its new session to be called. Raises ApiError for what can be no name."""
    name = _ROUTED.get()
    if name and not is_name(name):
        raise ApiError(
            400, "invalid_request", f"{SESSION_HEADER} is no name for a session; give up to 64 letters, digits, - and _"
        )
    return name or None
