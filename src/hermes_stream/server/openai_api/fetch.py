"""Media behind an address."""

from __future__ import annotations

from hermes_stream.server.problems import ApiError
from hermes_stream.server.settings import ServerSettings


def fetch(settings: ServerSettings, url: str, most_bytes: int) -> bytes:
    raise ApiError(400, "invalid_source", "not yet")
