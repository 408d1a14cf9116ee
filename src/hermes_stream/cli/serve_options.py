"""The options of a server, each of which can also stand in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from hermes_stream.server.settings import ServerSettings

_LIMITS = frozenset({"max_sessions", "max_sessions_per_key", "questions_per_minute", "idle_seconds"})
# One on the command line, many in a file.
_PLURALS = {"allow_network": "allow_networks", "allow_origin": "allow_origins"}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The server. What is not given here is taken from --config, else the default.

    Parameters
    ----------
    config
        TOML file with any of the server's settings; see docs/operations.md.
    host
        Address to listen on, by default 127.0.0.1. Beyond this machine only with a key.
    port
        By default 8000; 0 takes a free one.
    state_dir
        Folder in which sessions survive a restart. Default: nothing is kept.
    shared
        Instead of a state folder: one for several servers, or an address such as s3://bucket/path; see docs/fleet.md.
    shared_ttl_seconds
        After so long without a sign of life others take a server's sessions. Default: 10.
    save_seconds
        Between two saves of a session, by default 10: what a crash may cost.
    keep_snapshots
        Older snapshots of each session that stay, for questions about the past. Default: 8.
    allow_local_files
        Folder below which files may be watched; may be repeated.
    allow_network
        Addresses that are not public but may be watched, as in 10.0.0.0/8; may be repeated.
    allow_origin
        Of a web page elsewhere that may talk to this server; may be repeated.
    api_key_file
        API keys, one a line as name:key. Others: hermes-stream keys, and the variable HERMES_STREAM_API_KEYS.
    encryption_key_file
        The key that the state folder is sealed with. Or the variable HERMES_STREAM_ENCRYPTION_KEY.
    max_sessions
        Of the server. Default: 64.
    max_sessions_per_key
        Default: 16.
    questions_per_minute
        Of each key. Default: 600.
    idle_seconds
        A session that nobody feeds or asks for so long is put away. Default: never.
    """

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    state_dir: Path | None = None
    shared: str | None = None
    shared_ttl_seconds: float | None = None
    save_seconds: float | None = None
    keep_snapshots: int | None = None
    allow_local_files: Annotated[list[Path] | None, Parameter(negative="")] = None
    allow_network: Annotated[list[str] | None, Parameter(negative="")] = None
    allow_origin: Annotated[list[str] | None, Parameter(negative="")] = None
    api_key_file: Path | None = None
    encryption_key_file: Path | None = None
    max_sessions: int | None = None
    max_sessions_per_key: int | None = None
    questions_per_minute: int | None = None
    idle_seconds: float | None = None

    def read(self) -> ServerSettings:
        """The settings, keys included. Raises ConfigError for what cannot be."""
        from hermes_stream.server.config_file import read_settings

        given: dict[str, Any] = {}
        limits: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name != "config":
                (limits if field.name in _LIMITS else given)[_PLURALS.get(field.name, field.name)] = value
        return read_settings(self.config, {**given, "limits": limits}, os.environ)
