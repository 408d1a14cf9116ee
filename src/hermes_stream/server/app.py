"""The server as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hermes_stream.engine.engine import Engine
from hermes_stream.errors import HermesError
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server import ask_api, policies_api, reference, sessions_api
from hermes_stream.server.access import client_secrets_api
from hermes_stream.server.access.auth import Gate
from hermes_stream.server.access.body_limit import BodyLimit
from hermes_stream.server.access.keys import KeyRing
from hermes_stream.server.access.origins import Origins
from hermes_stream.server.access.reach import key_ring
from hermes_stream.server.alerts import alerts_api
from hermes_stream.server.alerts.alerts import Alerts
from hermes_stream.server.context import Server
from hermes_stream.server.fleet.fleet import Fleet, Place, open_place
from hermes_stream.server.fleet.patrol import Patrol
from hermes_stream.server.fleet.routing import Routed
from hermes_stream.server.hub import Hub
from hermes_stream.server.live_session import Identity
from hermes_stream.server.observe import health_api
from hermes_stream.server.observe.access_log import Access
from hermes_stream.server.observe.ticker import tell_stats
from hermes_stream.server.openai_api import chat_api, realtime_api
from hermes_stream.server.page import add_page
from hermes_stream.server.problems import Problem, malformed, problem_of
from hermes_stream.server.pull.puller import Puller
from hermes_stream.server.pull.sources import Sources
from hermes_stream.server.push import push_api
from hermes_stream.server.questions import Asker
from hermes_stream.server.settings import ServerSettings
from hermes_stream.server.state import durable_api
from hermes_stream.server.state.journal import Journal
from hermes_stream.server.state.keeper import Keeper
from hermes_stream.server.state.state_folder import StateFolder

_log = logging.getLogger(__name__)
_TICK_SECONDS = 1.0
_ROUTERS = (
    sessions_api.router,
    ask_api.router,
    durable_api.router,
    policies_api.router,
    push_api.router,
    alerts_api.router,
    client_secrets_api.router,
    health_api.router,
    reference.router,
    chat_api.router,
    realtime_api.router,
)


def make_app(settings: ServerSettings, engines: Mapping[str, Engine]) -> FastAPI:
    """The application. engines: by model name, the default one first; they are the caller's to close.

    Raises ConfigError for a state folder that cannot be used, and for keys that are missing or cannot be read.
    """
    ring = key_ring(settings)
    folder = None if settings.state_dir is None else StateFolder(settings.state_dir, settings.encryption_key)
    place = _place(settings)
    journal = _journal(settings, folder)
    keeper = Keeper(journal, folder if place is None else place.checkpoints, n_older=settings.keep_snapshots)
    # Read now: a record that cannot be read keeps the server from starting.
    known = list(keeper.known())
    keeper.sweep()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub = Hub(engines, journal, keeper, settings.limits)
        sources = Sources(settings)
        alerts = Alerts(hub, sources.networks)
        puller = Puller(sources)
        hub.before_open.append(puller.check)
        hub.on_open.append(puller.start)
        hub.on_close.append(puller.stop)
        app.state.server = server = Server(settings, hub, Asker(hub), sources, alerts)
        server.metrics.attach(hub, keeper, server.asker)
        app.state.patrol = patrol = None if place is None else await _joined(server, place)
        background = [
            asyncio.create_task(each) for each in (_live(server, known), tell_stats(hub), alerts.webhooks.run())
        ]
        if patrol is not None:
            patrol.start()
        try:
            yield
        finally:
            server.ready.clear()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            puller.let_go()
            if patrol is not None:
                await patrol.leave()
            await hub.shut_down()
            server.decoding.shutdown()
            journal.close()
            if folder is not None:
                folder.close()

    app = FastAPI(
        title="hermes-stream", version=version("hermes-stream"), lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.openapi = lambda: reference.describe(app)  # type: ignore[method-assign]
    for router in _ROUTERS:
        app.include_router(router)
    add_page(app)
    _add_handlers(app)
    _add_gates(app, settings, ring)
    return app


async def drain(app: FastAPI) -> None:
    """Hand all sessions of a running application over to the other servers of its fleet, and take no new ones."""
    server: Server = app.state.server
    server.ready.clear()
    server.hub.end_events()
    await app.state.patrol.leave()


def _add_gates(app: FastAPI, settings: ServerSettings, ring: KeyRing) -> None:
    """What every request goes through before it reaches a route, the innermost first."""
    app.add_middleware(BodyLimit, limits=settings.limits)
    app.add_middleware(Gate, ring=ring, origins=Origins(settings.allow_origins))
    if settings.shared is not None:
        app.add_middleware(Routed)
    app.add_middleware(Access)


def _journal(settings: ServerSettings, folder: StateFolder | None) -> Journal:
    path, key = None if folder is None else folder.journal_path, settings.encryption_key
    if settings.shared is not None:
        # In memory: the journals of sessions go with their checkpoints.
        return Journal(None, is_shared=True)
    if key is None:
        return Journal(path)
    return Journal(path, seal=lambda data: seal_bytes(data, key), unseal=lambda data: open_sealed_bytes(data, key))


def _place(settings: ServerSettings) -> Place | None:
    if settings.shared is None:
        return None
    return open_place(settings.shared, settings.shared_ttl_seconds, settings.encryption_key)


async def _joined(server: Server, place: Place) -> Patrol:
    """From now on the hub's sessions are those of a fleet."""
    fleet = Fleet(server.hub, place)
    patrol = Patrol(server.hub, fleet, place, lambda is_sure: server.ready.set() if is_sure else server.ready.clear())
    await patrol.join()
    server.hub.elsewhere = fleet
    return patrol


async def _live(server: Server, known: Sequence[Identity]) -> None:
    """Bring sessions back, then save and clean up, until cancelled."""
    await server.hub.restore_all(known)
    server.ready.set()
    await _keep_house(server.hub, server.settings.save_seconds)


async def _keep_house(hub: Hub, save_seconds: float) -> None:
    waited = 0.0
    while True:
        seconds = min(_TICK_SECONDS, save_seconds)
        await asyncio.sleep(seconds)
        waited += seconds
        try:
            await hub.close_idle()
            if waited >= save_seconds:
                await hub.save_all()
                waited = 0.0
        except Exception:  # whatever it was, nothing would be saved any more if this came to an end
            _log.exception("sessions are not all saved; it is tried again")


def _add_handlers(app: FastAPI) -> None:
    """Every error leaves in one shape."""

    @app.exception_handler(HermesError)
    async def _known(_: Request, error: Exception) -> JSONResponse:
        return _response(problem_of(error), error)

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _response(malformed(error.errors()), error)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _response(Problem(error.status_code, "http_error", str(error.detail)), error)


def _response(problem: Problem, error: Exception) -> JSONResponse:
    if problem.status >= 500:
        _log.error("a request failed: %s", error)
    headers = {"retry-after": "1"} if problem.status in (429, 503) else None
    return JSONResponse(problem.body(), problem.status, headers)
