"""A small application behind the real gate: what gets through, and what that sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request, WebSocket

from hermes_stream.server.access.auth import Gate
from hermes_stream.server.access.body_limit import BodyLimit
from hermes_stream.server.access.client_secrets import ClientSecrets
from hermes_stream.server.access.keys import KeyRing
from hermes_stream.server.access.origins import Origins
from hermes_stream.server.observe.access_log import Access
from hermes_stream.server.observe.metrics import Metrics
from hermes_stream.server.settings import Limits


def gate_app(ring: KeyRing, *, origins: tuple[str, ...] = (), limits: Limits | None = None) -> FastAPI:
    """Routes that say who asks and what they were sent."""
    app = FastAPI()
    app.state.server = SimpleNamespace(client_secrets=ClientSecrets(), metrics=Metrics())
    app.add_middleware(BodyLimit, limits=limits or Limits())
    app.add_middleware(Gate, ring=ring, origins=Origins(origins))
    app.add_middleware(Access)

    @app.get("/{path:path}")
    async def get(request: Request) -> dict[str, Any]:
        return {"owner": request.scope["hermes_stream.owner"], "headers": dict(request.headers)}

    @app.post("/v1/count")
    async def count(request: Request) -> int:
        return len(await request.body())

    @app.post("/v1/parse")
    async def parse(body: dict[str, Any]) -> int:
        return len(body)

    @app.post("/{path:path}")
    async def post(request: Request) -> dict[str, Any]:
        return {"owner": request.scope["hermes_stream.owner"]}

    @app.websocket("/{path:path}")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json({"owner": socket.scope["hermes_stream.owner"], "offered": socket.scope["subprotocols"]})
        await socket.close()

    return app
