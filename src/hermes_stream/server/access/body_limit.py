"""How large the body of a request may be: counted as it arrives, whatever its headers promise."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes_stream.server.access.refusal import refuse
from hermes_stream.server.problems import ApiError, problem_of
from hermes_stream.server.settings import Limits

# Base64, and the JSON around it.
_TEXT_SHARE = 1.5
_CLOSE = {"connection": "close"}


class BodyLimit:
    """ASGI. Requests with more are answered 413, and read no further."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._larger = {
            "/v1/chat/completions": int(limits.max_video_bytes * _TEXT_SHARE),
            "/v1/restore": limits.max_snapshot_bytes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._larger.get(scope["path"], self._limits.max_body_bytes)
        promised = Headers(scope=scope).get("content-length", "")
        counted = _Counted(receive, send, most)
        if promised.isdecimal() and int(promised) > most:
            counted.is_over = True
        else:
            await counted.run(self._app, scope)
        if counted.is_over and not counted.has_begun:
            problem = problem_of(ApiError(413, "too_large", f"a body may have {most} bytes here; this one has more"))
            await refuse(scope, receive, send, problem, _CLOSE)


class _TooLarge(Exception):
    pass


class _Counted:
    """One request: once its body is too large nothing that the application makes of that is sent."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._n_bytes = 0
        self.is_over = self.has_begun = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        with suppress(_TooLarge):
            await app(scope, self.receive, self.send)

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._most:
            self.is_over = True
            raise _TooLarge
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self.is_over and not self.has_begun:
            return
        self.has_begun = True
        await self._send(message)
