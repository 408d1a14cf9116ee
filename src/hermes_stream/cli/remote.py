"""Requests to a running server."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cyclopts import Parameter

from hermes_stream.errors import ConfigError, HermesError

_KEY_VARIABLE = "HERMES_STREAM_API_KEY"
_PIECE_BYTES = 1 << 20


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Remote:
    """A running server. The key, if it wants one, is read from HERMES_STREAM_API_KEY.

    Parameters
    ----------
    server
        Its address.
    """

    server: str = "http://127.0.0.1:8000"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; JSON in, JSON out. Raises HermesError with the server's own line where it refuses."""
        data = None if body is None else json.dumps(body).encode()
        with self._open(method, path, data) as response:
            text = response.read()
        return json.loads(text) if text else None

    def events(self, path: str, body: Any) -> Iterator[dict[str, Any]]:
        """The data of server-sent events, as they come."""
        with self._open("POST", path, json.dumps(body).encode()) as response:
            for line in response:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def download(self, path: str, target: Path) -> None:
        """A file of the server's, written as a whole or not at all."""
        unfinished = target.with_name(f"{target.name}.unfinished")
        with self._open("GET", path) as response, unfinished.open("wb") as file:
            while piece := response.read(_PIECE_BYTES):
                file.write(piece)
        unfinished.replace(target)

    def upload(self, path: str, file: BinaryIO, n_bytes: int) -> Any:
        """A file as the body of a request."""
        with self._open("POST", path, file, {"Content-Length": str(n_bytes)}) as response:
            return json.loads(response.read())

    def _open(self, method: str, path: str, data: Any = None, headers: dict[str, str] | None = None) -> Any:
        if not self.server.startswith(("http://", "https://")):
            raise ConfigError(f"--server is {self.server!r}; give an address such as http://127.0.0.1:8000")
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key := os.environ.get(_KEY_VARIABLE):
            sent["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.server.rstrip("/") + path, data, sent, method=method)
        try:
            return urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            raise HermesError(_told(error)) from error
        except urllib.error.URLError as error:
            reason = f"{self.server} does not answer ({error.reason})"
            raise HermesError(f"{reason}; start it with hermes-stream serve") from error


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message: str = json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"the server answered {error.code} {error.reason}"
    return message
