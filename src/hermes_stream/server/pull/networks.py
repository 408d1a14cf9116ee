"""Which addresses a server may connect to for its clients: public ones, and those that its operator allows.

A name is resolved, every address that it has is judged, and the connection goes to one of these very addresses: a name
that answers differently a moment later gains nothing. Nothing else in `server/` connects to what a client names.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from hermes_stream.errors import SourceError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Name and port to addresses. Raises OSError for a name that has none."""

_IPV4_MAPPED_OR_COMPATIBLE = (ipaddress.ip_network("::ffff:0:0/96"), ipaddress.ip_network("::/96"))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_MASK = 2**32 - 1
_MOST_ADDRESSES = 16
_RESOLVE_SECONDS = 10.0


class Forbidden(SourceError):
    """The server's rules do not let a client have this."""


class Networks:
    """Judges and connects; safe to use from several threads."""

    def __init__(self, allowed: Sequence[str] = (), resolve: Resolve | None = None) -> None:
        """allowed: networks that need not be public, as in 10.0.0.0/8."""
        self._allowed = tuple(ipaddress.ip_network(network) for network in allowed)
        self._resolve = resolve or _resolve

    def addresses(self, host: str, port: int) -> list[Address]:
        """Where a host is. Raises Forbidden if one of its addresses is not allowed, OSError if it has none."""
        try:
            found = [ipaddress.ip_address(text) for text in self._resolve(host, port)][:_MOST_ADDRESSES]
        # UnicodeError: of a label that is too long or empty.
        except (OSError, UnicodeError) as error:
            raise ConnectionError(f"the host {host} cannot be found; check its name") from error
        for address in found:
            if not self.allows(address):
                # Not where it is: who asks may be curious about names inside.
                raise Forbidden(f"{host} is not at a public address; its operator can let the server (--allow-network)")
        return found

    def allows(self, address: Address) -> bool:
        """Whether a client may have the server connect there."""
        if _is_within(address, self._allowed):
            return True
        inner = _ipv4_inside(address)
        return _is_public(address) if inner is None else self.allows(inner)

    def connect(self, host: str, port: int, timeout_seconds: float) -> socket.socket:
        """A TCP connection with that time limit. Raises Forbidden as `addresses` does, OSError if nobody answers."""
        until, failure = time.monotonic() + timeout_seconds, ""
        for address in self.addresses(host, port):
            left_seconds = until - time.monotonic()
            if left_seconds <= 0:
                break
            try:
                connection = socket.create_connection((str(address), port), left_seconds)
            except OSError as error:
                failure = f" ({error.strerror or error})"
            else:
                connection.settimeout(timeout_seconds)
                return connection
        raise ConnectionError(f"{host} port {port} does not answer{failure}; check the address and the network")


def _is_within(address: Address, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_public(address: Address) -> bool:
    # `is_global` is true of multicast, and of the site-local addresses that IPv6 once had.
    is_odd = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not is_odd and not getattr(address, "is_site_local", False)


def _ipv4_inside(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: what would be reached is judged, not how it is written."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in network for network in _IPV4_MAPPED_OR_COMPATIBLE) or address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _IPV4_MASK)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None


def _resolve(host: str, port: int) -> Sequence[str]:
    """By the machine's own means, which know no time limit: a thread waits for them, and we for the thread."""
    answers: SimpleQueue[Sequence[str] | OSError | UnicodeError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([str(place[0]).partition("%")[0] for *_, place in found])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="hermes-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=_RESOLVE_SECONDS)
    except Empty as error:
        raise TimeoutError from error
    if isinstance(answer, Exception):
        raise answer
    return answer
