"""One log line and one count for each request and each WebSocket; what nobody else catches is caught here."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from hermes_stream.server.access.refusal import refuse
from hermes_stream.server.context import Server
from hermes_stream.server.problems import problem_of

_log = logging.getLogger(__name__)

# Asked every few seconds by programs that watch the server: they would be most of the log.
_PROBES = frozenset({"/health", "/ready", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ROUTE = "(none)"
_ERROR_CLOSE_CODE = 1011


class Access:
    """ASGI, the outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except Exception as error:  # whatever it was: the client is told that, and the log what
            _log.exception("a request failed: %s", error, extra={"session": exchange.session})
            await exchange.fail(error)
        finally:
            server: Server = scope["app"].state.server
            server.metrics.note_request(exchange.method, exchange.route, exchange.status)
            exchange.log()


class _Exchange:
    """A request and what became of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._started = time.perf_counter()
        self._close_code: int | None = None
        # 499: the client left before there was an answer.
        self.status = 499

    @property
    def method(self) -> str:
        method = self._scope.get("method", "WS")
        return method if method in _METHODS or method == "WS" else "other"

    @property
    def route(self) -> str:
        """As it is declared: there are few of these, and they name no session."""
        route = self._scope.get("route")
        return _NO_ROUTE if route is None else str(route.path)

    @property
    def session(self) -> str | None:
        name: str | None = self._scope.get("path_params", {}).get("session_id")
        return name

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "websocket.disconnect" and self._close_code is None:
            self._close_code = message.get("code")
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close":
            self._close_code = message.get("code", 1000)
            self.status = 101 if self.status == 101 else 403
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Tell the client that something went wrong, as far as it can still be told."""
        if self.status == 499:
            await refuse(self._scope, self._receive, self.send, problem_of(error), {})
        elif self.status == 101 and self._close_code is None:
            await self.send({"type": "websocket.close", "code": _ERROR_CLOSE_CODE})

    def log(self) -> None:
        is_probe = self._scope["path"] in _PROBES and self.status < 400
        milliseconds = (time.perf_counter() - self._started) * 1000
        fields = {
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "ms": round(milliseconds, 1),
            "key": self._scope.get("hermes_stream.owner"),
            "session": self.session,
            "close_code": self._close_code,
            "address": (self._scope.get("client") or (None,))[0],
        }
        _log.log(logging.DEBUG if is_probe else logging.INFO, "%s %s %d", *list(fields.values())[:3], extra=fields)
