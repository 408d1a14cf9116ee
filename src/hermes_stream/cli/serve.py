"""`hermes-stream serve`: live streams behind HTTP and WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hermes_stream.cli.model_options import EngineOptions
from hermes_stream.cli.output import say


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    state_dir: Path | None = None,
    save_seconds: float = 10.0,
    keep_snapshots: int = 8,
    allow_local_files: Annotated[list[Path] | None, Parameter(negative="")] = None,
    allow_network: Annotated[list[str] | None, Parameter(negative="")] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None,
    max_sessions: int = 64,
    idle_seconds: float | None = None,
    options: Annotated[EngineOptions | None, Parameter(name="*")] = None,
) -> None:
    """Serve live streams: sessions, questions, alerts and a page, over HTTP and WebSocket.

    Parameters
    ----------
    host
        Address to listen on. Beyond this machine only with a key.
    port
        0 takes a free one.
    state_dir
        Folder in which sessions survive a restart. Default: nothing is kept.
    save_seconds
        Between two saves of a session: what a crash may cost.
    keep_snapshots
        Older snapshots of each session that stay, for questions about the past.
    allow_local_files
        Folder below which files may be watched; may be repeated.
    allow_network
        Addresses that are not public but may be watched, as in 10.0.0.0/8; may be repeated.
    allow_origin
        Of a web page elsewhere that may talk to this server; may be repeated.
    max_sessions
        Of the server.
    idle_seconds
        A session that nobody feeds or asks for so long is put away. Default: never.
    """
    try:
        from hermes_stream.server.run import serve as run_server
    except ImportError as error:
        from hermes_stream.errors import ConfigError

        raise ConfigError(f"{error.name} is not installed; pip install 'hermes-stream[server]'") from error
    from hermes_stream.server.settings import Limits, ServerSettings

    options = options or EngineOptions()
    settings = ServerSettings(
        host=host,
        port=port,
        state_dir=state_dir,
        save_seconds=save_seconds,
        keep_snapshots=keep_snapshots,
        allow_local_files=tuple(allow_local_files or ()),
        allow_networks=tuple(allow_network or ()),
        allow_origins=tuple(allow_origin or ()),
        limits=Limits(max_sessions=max_sessions, idle_seconds=idle_seconds),
    )
    with options.load_model() as engine:
        run_server(settings, {engine.model.name: engine}, on_ready=lambda address: say(f"listening on {address}"))
