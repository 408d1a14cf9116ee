"""Short-lived secrets that a program with a key gives to browsers: they act for its owner, and make no further ones."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from hermes_stream.server.access.keys import digest_of
from hermes_stream.server.problems import ApiError

_PREFIX = "ek_"
_N_BYTES = 32
_MOST_PER_OWNER = 1000


@dataclass(frozen=True, slots=True)
class _Issued:
    owner: str
    expires_seconds: float


class ClientSecrets:
    """In memory, by their hashes; a restart ends them all. Used on the server's loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970."""
        self._clock = clock
        self._issued: dict[bytes, _Issued] = {}

    def issue(self, owner: str, seconds: int) -> tuple[str, int]:
        """A secret, and when it ends, in seconds since 1970. Raises ApiError where the owner has too many."""
        now = self._clock()
        self._issued = {digest: issued for digest, issued in self._issued.items() if issued.expires_seconds > now}
        if sum(issued.owner == owner for issued in self._issued.values()) >= _MOST_PER_OWNER:
            raise ApiError(429, "rate_limit_exceeded", f"{_MOST_PER_OWNER} client secrets are open, the limit; wait")
        secret, expires_seconds = _PREFIX + secrets.token_urlsafe(_N_BYTES), int(now) + seconds
        self._issued[digest_of(secret)] = _Issued(owner, expires_seconds)
        return secret, expires_seconds

    def owner(self, secret: str) -> str | None:
        """For whom a secret acts; None if it has ended or was never issued."""
        issued = self._issued.get(digest_of(secret))
        return None if issued is None or issued.expires_seconds <= self._clock() else issued.owner
