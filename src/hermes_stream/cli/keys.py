"""`hermes-stream keys`: API keys of a server, in its state folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from hermes_stream.cli.output import say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.server.access.keys import KeyStore

keys = App(name="keys", help="API keys of a server, kept as hashes in its state folder.", default_parameter=None)


@keys.command
def add(name: str, *, state_dir: Path) -> None:
    """Make a key and print it; nobody can tell it again. A running server takes it at once.

    Parameters
    ----------
    name
        Sessions belong to this name.
    state_dir
        The server's folder.
    """
    secret = _store(state_dir).add(name)
    print(secret)
    say(f"send it as `Authorization: Bearer KEY`; sessions that it opens belong to {name}")


@keys.command(name="list")
def list_keys(*, state_dir: Path) -> None:
    """The names of the keys, and when they were made.

    Parameters
    ----------
    state_dir
        The server's folder.
    """
    for key in _store(state_dir).read():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created_seconds))
        print(f"{key.name}\t{made}")


@keys.command
def remove(name: str, *, state_dir: Path) -> None:
    """A key counts no more, for a running server from its next request on. Its sessions stay.

    Parameters
    ----------
    name
        Of the key.
    state_dir
        The server's folder.
    """
    _store(state_dir).remove(name)
    say(f"{name} is removed; a new key of that name has its sessions")


def _store(state_dir: Path) -> KeyStore:
    try:
        from hermes_stream.server.access.keys import KeyStore
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'hermes-stream[server]'") from error
    return KeyStore(state_dir)
