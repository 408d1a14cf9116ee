"""Which addresses a webhook may be at: public ones, and those that the operator allows."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from hermes_stream.errors import SourceError


class Forbidden(SourceError):
    """The server's rules do not let a client have this."""


class Networks:
    """Judges and connects; safe to use from several threads."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        """allowed: networks that need not be public, as in 10.0.0.0/8."""
        self._allowed = tuple(ipaddress.ip_network(network) for network in allowed)

    def addresses(self, host: str, port: int) -> list[str]:
        """Where a host is. Raises Forbidden if one of its addresses is not allowed, OSError if it has none."""
        try:
            found = [str(place[4][0]) for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            raise ConnectionError(f"the host {host} cannot be found; check its name") from error
        for address in found:
            if not self._allows(ipaddress.ip_address(address)):
                raise Forbidden(f"{host} is not at a public address; its operator can let the server (--allow-network)")
        return found

    def connect(self, host: str, port: int, timeout_seconds: float) -> socket.socket:
        """A connection to an address that was judged. Raises as `addresses` does, OSError if nobody answers."""
        return socket.create_connection((self.addresses(host, port)[0], port), timeout_seconds)

    def _allows(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if any(address.version == network.version and address in network for network in self._allowed):
            return True
        mapped = getattr(address, "ipv4_mapped", None)
        return self._allows(mapped) if mapped else address.is_global and not address.is_multicast
