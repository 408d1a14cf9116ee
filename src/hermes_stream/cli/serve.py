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
    server: Annotated[ServeOptions | None, Parameter(name="*")] = None,
    options: Annotated[EngineOptions | None, Parameter(name="*")] = None,
) -> None:
    """Serve live streams: sessions, questions, alerts and a page, over HTTP and WebSocket.

    Parameters
    ----------
    log_format
        Of the log on standard error. Default: text on a terminal, else json.
    """
    settings = (server or ServeOptions()).read()
    try:
        from hermes_stream.server.access.reach import bind

        # What cannot be is refused before anything slow is imported.
        sockets = bind(settings)
        from hermes_stream.server.observe.logs import configure_logs
        from hermes_stream.server.run import serve as run_server
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'hermes-stream[server]'") from error
    configure_logs(log_format)
    with (options or EngineOptions()).load_model() as engine:
        run_server(settings, {engine.model.name: engine}, sockets)
