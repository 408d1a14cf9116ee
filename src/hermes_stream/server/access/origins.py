"""Which web pages may talk to the server: decisions about the headers Host and Origin, and the headers of CORS."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers

_METHODS = "GET, POST, DELETE, OPTIONS"
_HEADERS = "authorization, content-type, last-event-id, x-session-id"
_EXPOSED = "x-time-s, retry-after, content-disposition"
_PREFLIGHT_SECONDS = 600
# What a browser sends without asking first, and without being able to read the answer.
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine: a name that an attacker's DNS cannot point here."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
    try:
        return name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Origins:
    """allowed: of pages elsewhere, as in https://example.com; a page of this server itself is always allowed."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = {origin.rstrip("/").lower() for origin in allowed}

    def may_act(self, kind: str, method: str, headers: Headers) -> bool:
        """Whether a request may do more than read what its page cannot see. kind: of ASGI, http or websocket."""
        origin = headers.get("origin")
        if origin is None or (kind == "http" and method in _HARMLESS and "cookie" not in headers):
            return True
        # Browsers leave the port of https out of both; whether TLS ends before us nobody knows here.
        is_same = origin.partition("://")[2].lower() == headers.get("host", "").lower() != ""
        return is_same or self._is_allowed(origin)

    def is_preflight(self, method: str, headers: Headers) -> bool:
        """Whether a browser asks what a page elsewhere may send."""
        return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers

    def preflight_headers(self, headers: Headers) -> dict[str, str] | None:
        """What a browser is told about such a page; None where it may send nothing."""
        allowed = self.response_headers(headers)
        if "access-control-allow-origin" not in allowed:
            return None
        return {
            **allowed,
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": str(_PREFLIGHT_SECONDS),
        }

    def response_headers(self, headers: Headers) -> dict[str, str]:
        """What every response says: only allowed pages may read or embed it, and nobody guesses its type."""
        origin = headers.get("origin", "")
        always = {"x-content-type-options": "nosniff"} | ({"vary": "Origin"} if self._allowed else {})
        if not self._is_allowed(origin):
            return always | {"cross-origin-resource-policy": "same-origin"}
        return always | {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": _EXPOSED,
            "cross-origin-resource-policy": "cross-origin",
        }

    def _is_allowed(self, origin: str) -> bool:
        return origin.lower() in self._allowed
