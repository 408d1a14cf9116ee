"""`hermes-stream serve`: live streams behind HTTP and WebSocket."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from hermes_stream.cli.model_options import EngineOptions
from hermes_stream.cli.serve_options import ServeOptions
from hermes_stream.errors import ConfigError


def serve(
    *,
    log_format: Literal["json", "text"] | None = None,
    ray: Annotated[bool, Parameter(negative="")] = False,
    replicas: str = "1",
    replica_gpus: float = 0.0,
    server: Annotated[ServeOptions | None, Parameter(name="*")] = None,
    options: Annotated[EngineOptions | None, Parameter(name="*")] = None,
) -> None:
    """Serve live streams: sessions, questions, alerts and a page, over HTTP and WebSocket.

    Parameters
    ----------
    log_format
        Of the log on standard error. Default: text on a terminal, else json.
    ray
        As replicas of Ray Serve, on this machine or the cluster at RAY_ADDRESS; see docs/fleet.md.
    replicas
        With --ray: how many, or 1/8 for as many as are needed between the two.
    replica_gpus
        With --ray: of each replica.
    """
    settings = (server or ServeOptions()).read()
    try:
        from hermes_stream.server.access.reach import bind

        # What cannot be is refused before anything slow is imported.
        sockets = bind(settings)
        from hermes_stream.server.observe.logs import configure_logs
        from hermes_stream.server.run import serve as run_server

        if ray:
            from hermes_stream.server.fleet.ray_serve import parse_replicas, serve_on_ray
    except ImportError as error:
        extra = "ray" if ray else "server"
        raise ConfigError(f"{error.name} is not installed; pip install 'hermes-stream[{extra}]'") from error
    configure_logs(log_format)
    if ray:
        load = (options or EngineOptions()).load_model
        serve_on_ray(settings, load, sockets, parse_replicas(replicas), replica_gpus)
        return
    with (options or EngineOptions()).load_model() as engine:
        run_server(settings, {engine.model.name: engine}, sockets)
