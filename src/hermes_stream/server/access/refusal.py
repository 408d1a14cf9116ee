"""Answers that are given before a request reaches any route: over HTTP, and to WebSockets before they are accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from hermes_stream.server.problems import Problem

_REAL_STATUS = "websocket.http.response"
# Of a WebSocket where the server cannot answer with a status: "policy violation".
_CLOSE_CODE = 1008


async def refuse(scope: Scope, receive: Receive, send: Send, problem: Problem, headers: Mapping[str, str]) -> None:
    """Answer with a problem. A WebSocket's handshake gets the same status and body where the server can send them."""
    body = json.dumps(problem.body(), ensure_ascii=False).encode()
    if scope["type"] == "http":
        await respond(send, problem.status, body, {"content-type": "application/json", **headers})
        return
    await receive()
    if _REAL_STATUS in scope.get("extensions", {}):
        sent = {"content-type": "application/json", **headers}
        await respond(send, problem.status, body, sent, prefix="websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": _CLOSE_CODE, "reason": problem.code})


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str], *, prefix: str = "http.response"
) -> None:
    """One whole response."""
    sent = {**headers, "content-length": str(len(body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]
    await send({"type": f"{prefix}.start", "status": status, "headers": raw})
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})
