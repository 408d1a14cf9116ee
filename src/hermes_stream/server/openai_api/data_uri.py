"""`data:` addresses: bytes inside a request (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from hermes_stream.errors import SourceError

_SCHEME = "data:"


def is_data_uri(url: str) -> bool:
    """Whether an address holds its bytes itself."""
    return url[: len(_SCHEME)].lower() == _SCHEME


def data_of(uri: str) -> bytes:
    """The bytes of a `data:` address. Raises SourceError, with one line, where it is none."""
    about, comma, data = uri[len(_SCHEME) :].partition(",")
    if not comma:
        raise SourceError("a data: address needs a comma before its data, as in data:image/jpeg;base64,...")
    if not about.lower().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SourceError(f"the data of a data: address is not base64: {error}") from error
