"""Who could reach a server: its keys and its address, looked at before anything slow is loaded."""

from __future__ import annotations

import logging
import socket

from hermes_stream.errors import ConfigError
from hermes_stream.server.access.keys import KeyRing, KeyStore
from hermes_stream.server.settings import ServerSettings

_log = logging.getLogger(__name__)


def key_ring(settings: ServerSettings) -> KeyRing:
    """The keys of a server: given ones and those of its state folder.

    Raises ConfigError where they cannot be read, and where there are none and others than this machine could connect.
    """
    store = None if settings.state_dir is None else KeyStore(settings.state_dir)
    ring = KeyRing(settings.api_keys, store, on_trouble=lambda error: _log.error("keys are not read again: %s", error))
    if not ring.is_required and not settings.is_local:
        raise ConfigError(
            f"without an API key nobody but this machine may connect, and {settings.host} is not it; make a key with "
            "`hermes-stream keys add NAME --state-dir DIR`, or listen on 127.0.0.1"
        )
    return ring


def bind(settings: ServerSettings) -> list[socket.socket]:
    """Take the address without listening on it yet: clients are turned away until there is a server.

    Raises ConfigError for an address that is taken or not ours, and for missing or unreadable API keys.
    """
    key_ring(settings)
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            taken = socket.socket(family, kind, protocol)
            bound.append(taken)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Of a name with several addresses all get the same port.
            taken.bind((address[0], bound[0].getsockname()[1] or settings.port, *address[2:]))
    except OSError as error:
        for taken in bound:
            taken.close()
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; give another"
        ) from error
    return bound
