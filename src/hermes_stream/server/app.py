"""The server as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hermes_stream.engine.engine import Engine
from hermes_stream.errors import HermesError
from hermes_stream.sealing import open_sealed_bytes, seal_bytes
from hermes_stream.server import ask_api, durable_api, sessions_api
from hermes_stream.server.context import Server
from hermes_stream.server.hub import Hub
from hermes_stream.server.journal import Journal
from hermes_stream.server.keeper import Keeper
from hermes_stream.server.problems import Problem, problem_of
from hermes_stream.server.pull import Puller
from hermes_stream.server.questions import Asker
from hermes_stream.server.settings import ServerSettings
from hermes_stream.server.sources import Sources
from hermes_stream.server.state_folder import StateFolder

_log = logging.getLogger(__name__)
_TICK_SECONDS = 1.0


def make_app(settings: ServerSettings, engines: Mapping[str, Engine]) -> FastAPI:
    """The application. engines: by model name, the default one first; they are the caller's to close.

    Raises ConfigError for a state folder that cannot be used.
    """
    folder = None if settings.state_dir is None else StateFolder(settings.state_dir, settings.encryption_key)
    journal = _journal(settings, folder)
    keeper = Keeper(journal, folder, n_older=settings.keep_snapshots)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub = Hub(engines, journal, keeper, settings.limits)
        sources = Sources(settings)
        puller = Puller(sources)
        hub.before_open.append(puller.check)
        hub.on_open.append(puller.start)
        hub.on_close.append(puller.stop)
        app.state.server = Server(settings, hub, Asker(hub), sources)
        await hub.restore_all()
        background = asyncio.create_task(_keep_house(hub, settings.save_seconds))
        try:
            yield
        finally:
            background.cancel()
            with suppress(asyncio.CancelledError):
                await background
            puller.let_go()
            await hub.shut_down()
            journal.close()
            if folder is not None:
                folder.close()

    app = FastAPI(title="hermes-stream", version=version("hermes-stream"), lifespan=lifespan)
    for router in (sessions_api.router, ask_api.router, durable_api.router):
        app.include_router(router)
    _add_handlers(app)
    return app


def _journal(settings: ServerSettings, folder: StateFolder | None) -> Journal:
    path, key = None if folder is None else folder.journal_path, settings.encryption_key
    if key is None:
        return Journal(path)
    return Journal(path, seal=lambda data: seal_bytes(data, key), unseal=lambda data: open_sealed_bytes(data, key))


async def _keep_house(hub: Hub, save_seconds: float) -> None:
    """Save and clean up, until cancelled."""
    waited = 0.0
    while True:
        seconds = min(_TICK_SECONDS, save_seconds)
        await asyncio.sleep(seconds)
        waited += seconds
        await hub.close_idle()
        if waited >= save_seconds:
            await hub.save_all()
            waited = 0.0


def _add_handlers(app: FastAPI) -> None:
    """Every error leaves in one shape."""

    @app.exception_handler(HermesError)
    async def _known(_: Request, error: Exception) -> JSONResponse:
        return _response(problem_of(error), error)

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _response(Problem(400, "invalid_request", _told(error.errors())), error)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _response(Problem(error.status_code, "http_error", str(error.detail)), error)

    @app.exception_handler(Exception)
    async def _unknown(_: Request, error: Exception) -> JSONResponse:
        return _response(problem_of(error), error)


def _response(problem: Problem, error: Exception) -> JSONResponse:
    if problem.status >= 500:
        _log.error("a request failed: %s", error, exc_info=None if isinstance(error, HermesError) else error)
    headers = {"retry-after": "1"} if problem.status in (429, 503) else None
    return JSONResponse(problem.body(), problem.status, headers)


def _told(errors: Any) -> str:
    """The first of pydantic's complaints in one line; it names the field."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place or 'the body'}: {first['msg']}{more}; see /docs for what is expected"
