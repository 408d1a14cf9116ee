"""The gate in front of every route: who asks, from where, and on behalf of which page; WebSockets before they open."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes_stream.server.access.client_secrets import ClientSecrets
from hermes_stream.server.access.guesses import Guesses
from hermes_stream.server.access.keys import KeyRing
from hermes_stream.server.access.origins import Origins, is_local_host
from hermes_stream.server.access.refusal import refuse, respond
from hermes_stream.server.context import ANYBODY, Server
from hermes_stream.server.problems import ApiError, problem_of

# Nothing of a session is told here.
_PUBLIC = frozenset({"/", "/health", "/ready"})
_PUBLIC_FOLDER = "/web/"
# A secret that made secrets would never end.
_CLIENT_SECRETS = "/v1/realtime/client_secrets"
# How browsers, which cannot set headers there, show a key to a WebSocket.
_KEY_PROTOCOL = "openai-insecure-api-key."
_PROTOCOL = "realtime"
_CHALLENGE = {"www-authenticate": 'Bearer realm="hermes-stream"'}


class Gate:
    """ASGI. A request that passes has the name of its key in `scope["hermes_stream.owner"]`.

    Without keys everybody on this machine passes, and what a client shows as a key is not looked at; a Host that is not
    local is refused then, because a page elsewhere can give its own name our address (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, origins: Origins) -> None:
        self._app, self._ring, self._origins = app, ring, origins
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        said = self._origins.response_headers(headers)
        try:
            self._check_place(scope, headers)
            preflight = self._preflight(scope, headers)
            if preflight is None:
                scope["hermes_stream.owner"] = await self._owner(scope, headers)
        except ApiError as error:
            more = _CHALLENGE if error.status == 401 else {"retry-after": "1"} if error.status == 429 else {}
            await refuse(scope, receive, send, problem_of(error), said | more)
            return
        if preflight is not None:
            await respond(send, 204, b"", preflight)
            return
        await self._app(_without_keys(scope), receive, _Answering(scope, send, said))

    def _check_place(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._ring.is_required and not is_local_host(host):
            raise ApiError(
                403, "host_not_allowed", f"this server has no key and answers to localhost only, not to {host!r}"
            )
        if not self._origins.may_act(scope["type"], scope.get("method", "GET"), headers):
            raise ApiError(
                403,
                "origin_not_allowed",
                f"pages of {headers.get('origin')!r} may not use this server; allow_origins says which may",
            )

    def _preflight(self, scope: Scope, headers: Headers) -> dict[str, str] | None:
        """The answer to a browser that asks what it may send; None where it does not ask."""
        if scope["type"] != "http" or not self._origins.is_preflight(scope["method"], headers):
            return None
        allowed = self._origins.preflight_headers(headers)
        if allowed is None:
            raise ApiError(403, "origin_not_allowed", f"pages of {headers.get('origin')!r} may not use this server")
        return allowed

    async def _owner(self, scope: Scope, headers: Headers) -> str:
        """Raises ApiError for a missing or wrong key; the answer to a wrong one is held back."""
        path = scope["path"]
        if not self._ring.is_required or path in _PUBLIC or path.startswith(_PUBLIC_FOLDER):
            return ANYBODY
        secret = _shown_key(scope, headers)
        if secret is None:
            raise ApiError(401, "missing_api_key", "this server wants a key: send `Authorization: Bearer KEY`")
        address = (scope.get("client") or ("",))[0]
        if not self._guesses.may_try(address):
            raise ApiError(429, "rate_limit_exceeded", "too many wrong keys from your address; wait a moment")
        server: Server = scope["app"].state.server
        owner = self._ring.owner(secret) or self._owner_of_secret(server.client_secrets, secret, path)
        if owner is None:
            server.metrics.note_wrong_key()
            await self._hold_back(address)
            raise ApiError(401, "invalid_api_key", "the key is wrong or has ended; ask who runs this server for one")
        return owner

    def _owner_of_secret(self, secrets: ClientSecrets, secret: str, path: str) -> str | None:
        owner = secrets.owner(secret)
        may = owner is not None and self._ring.knows(owner) and path != _CLIENT_SECRETS
        return owner if may else None

    async def _hold_back(self, address: str) -> None:
        seconds = self._guesses.wrong(address)
        if not seconds:
            return
        self._guesses.wait(address)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._guesses.answered(address)


class _Answering:
    """Adds to a response what the gate has to say, and accepts the protocol that carried a key."""

    def __init__(self, scope: Scope, send: Send, headers: dict[str, str]) -> None:
        self._send, self._headers = send, headers
        self._is_protocol_offered = _PROTOCOL in scope.get("subprotocols", ())

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            sent = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in self._headers.items():
                sent.setdefault(name, value)
            message["headers"] = sent.raw
        elif message["type"] == "websocket.accept" and not message.get("subprotocol") and self._is_protocol_offered:
            # Browsers drop a connection that accepts none of what they offered.
            message["subprotocol"] = _PROTOCOL
        await self._send(message)


def _shown_key(scope: Scope, headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    for protocol in scope.get("subprotocols", ()):
        if protocol.startswith(_KEY_PROTOCOL):
            return str(protocol.removeprefix(_KEY_PROTOCOL))
    return None


def _without_keys(scope: Scope) -> Scope:
    """What routes see of a request: no key, so that none can get into a log or an answer."""
    secret_headers = (b"authorization", b"sec-websocket-protocol")
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name.lower() not in secret_headers]
    if "subprotocols" in scope:
        scope["subprotocols"] = [name for name in scope["subprotocols"] if not name.startswith(_KEY_PROTOCOL)]
    return scope
