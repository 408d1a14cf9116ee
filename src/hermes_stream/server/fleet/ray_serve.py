"""The server as replicas of Ray Serve: the same application, reached through Ray's proxies by the session's id."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, HTTPOptions, RequestRouterConfig

from hermes_stream.engine.engine import Engine
from hermes_stream.errors import ConfigError, SessionClosed
from hermes_stream.server.app import drain, make_app
from hermes_stream.server.context import Server
from hermes_stream.server.fleet.scaling import LAG, SHARE
from hermes_stream.server.observe.logs import configure_logs
from hermes_stream.server.settings import ServerSettings

_log = logging.getLogger(__name__)

_NAME = "hermes-stream"
_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_POLICY = "hermes_stream.server.fleet.scaling:wanted_on_ray"
# WebSockets and streams of events count as requests for as long as they last; our own limits are below that.
_MOST_REQUESTS = 100_000
_OBJECT_STORE_BYTES = 100 * 2**20
_HAND_OVER_SECONDS = 60
_POLL_SECONDS, _PATIENCE_SECONDS = 0.5, 1.0


def parse_replicas(text: str) -> tuple[int, int]:
    """`2`, or `1/8` for as many as are needed between the two. Raises ConfigError."""
    least, _, most = text.partition("/")
    try:
        bounds = int(least), int(most or least)
    except ValueError:
        bounds = 0, 0
    if not 1 <= bounds[0] <= bounds[1]:
        raise ConfigError(f"--replicas is {text!r}; write a number, or two as in 1/8, the fewest and the most")
    return bounds


@serve.ingress()
class Replica:
    """One server of the fleet, with a model of its own, in a process of its own."""

    def __init__(self, settings: ServerSettings, load: Callable[[], Engine]) -> None:
        configure_logs("json")
        self._settings, self._engine = settings, load()
        self._idle_bytes = self._engine.stats.used_bytes

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray once the model is there."""
        self._app = make_app(self._settings, {self._engine.model.name: self._engine})
        self._draining = asyncio.create_task(self._drain_when_stopped())
        return self._app

    async def check_health(self) -> None:
        """Called by Ray, which replaces a replica that raises."""
        server: Server = self._app.state.server
        if await server.pulse.take(self._engine, _PATIENCE_SECONDS) in ("stuck", "ended"):
            raise SessionClosed(f"the engine of {self._engine.model.name} does not answer")

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Ray; what `scaling` decides by. Without a limit of memory, by lag alone."""
        stats, server = self._engine.stats, self._app.state.server
        room = math.inf if stats.limit_bytes is None else max(stats.limit_bytes - self._idle_bytes, 1)
        lags = [live.session.stats.lag_seconds for live in server.hub.sessions()]
        return {SHARE: (stats.used_bytes - self._idle_bytes) / room, LAG: max(lags, default=0.0)}

    async def _drain_when_stopped(self) -> None:
        """Hand all sessions over as soon as Ray stops the replica: it waits for open connections, and then kills."""
        while not _is_stopping():
            await asyncio.sleep(_POLL_SECONDS)
        await drain(self._app)


def serve_on_ray(
    settings: ServerSettings,
    load: Callable[[], Engine],
    sockets: list[socket.socket],
    replicas: tuple[int, int],
    n_gpus: float,
) -> None:
    """Serve until SIGTERM or SIGINT, then let every replica save its sessions. RAY_ADDRESS names a cluster to join.

    load: makes a replica's engine, there. sockets: what `reach.bind` took, given back to Ray's proxies. n_gpus: of each
    replica. Raises ConfigError without a shared store.
    """
    if settings.shared is None:
        raise ConfigError("--ray needs --shared: a folder or address in which replicas find each other's sessions")
    host, port = sockets[0].getsockname()[:2]
    for taken in sockets:
        taken.close()
    # Nothing is told to anybody elsewhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {} if os.environ.get("RAY_ADDRESS") else {"object_store_memory": _OBJECT_STORE_BYTES}
    ray.init(include_dashboard=False, logging_level=logging.WARNING, **own)
    is_over = threading.Event()
    # Behind `init`, which sets handlers of its own that end the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: is_over.set())
    try:
        serve.start(http_options=HTTPOptions(host=settings.host, port=port))
        application = _deployment(replicas, n_gpus).bind(settings, load)
        serve.run(application, name=_NAME, route_prefix="/")
        _log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        is_over.wait()
        _log.info("ending: replicas save their sessions")
        serve.delete(_NAME)
    finally:
        ray.shutdown()
    _log.info("ended")


def _deployment(replicas: tuple[int, int], n_gpus: float) -> Any:
    least, most = replicas
    how_many: dict[str, Any] = {"num_replicas": least}
    if most > least:
        policy = AutoscalingPolicy(policy_function=_POLICY)
        how_many = {"autoscaling_config": AutoscalingConfig(min_replicas=least, max_replicas=most, policy=policy)}
    return serve.deployment(
        Replica,
        name=_NAME,
        ray_actor_options={"num_cpus": 1, "num_gpus": n_gpus},
        max_ongoing_requests=_MOST_REQUESTS,
        graceful_shutdown_timeout_s=_HAND_OVER_SECONDS,
        request_router_config=RequestRouterConfig(
            request_router_class=_ROUTER, request_router_kwargs={"num_fallback_replicas": 0}
        ),
        logging_config={"enable_access_log": False},
        **how_many,
    )


def _is_stopping() -> bool:
    """Whether Ray stops the replica of this process. It tells nobody: this looks where 2.60 notes it down."""
    actors = ray._private.worker.global_worker.actors.values()
    return any(actor._replica_impl._shutting_down for actor in actors if hasattr(actor, "_replica_impl"))
