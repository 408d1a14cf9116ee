"""What the text that names a video means: a local file, something on the network, or a device."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
# `FORMAT:NAME` for devices that have no path; FFmpeg wants the two apart.
_DEVICE_FORMATS = frozenset(
    {"lavfi", "v4l2", "avfoundation", "dshow", "gdigrab", "x11grab", "xcbgrab", "fbdev", "kmsgrab", "decklink"}
)
_VIDEO_DEVICE_FORMAT = "v4l2"
_SECRET_KEYS = r"(?:access_?)?token|key|api_?key|auth|sig(?:nature)?|pass(?:word|wd)?|pwd|secret|user(?:name)?"
_QUERY_SECRET = re.compile(rf"([?&;](?:[^=&;#]*[_-])?(?:{_SECRET_KEYS})=)[^&;#]*", re.IGNORECASE)
_USER_INFO = re.compile(r"(://)[^/?#]*@")
_MASK = "***"


class Kind(Enum):
    """How a video is reached."""

    FILE = "file"
    NETWORK = "network"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a video is, in the words of FFmpeg.

    url: what FFmpeg opens; may hold a password, so it is left out of `repr`.
    shown: the same for people, passwords and tokens masked.
    format: FFmpeg's input format where it must be named (devices), else None.
    """

    kind: Kind
    url: str = field(repr=False)
    shown: str
    format: str | None = None


def locate(source: str | Path) -> Location:
    """Read the name of a video: an existing path first, then `scheme://...`, then `device-format:name`, else a path.

    Raises nothing: whether it exists is found out by opening it.
    """
    text = os.fspath(source)
    # os.path, because pathlib raises on addresses that are too long for a file name.
    if isinstance(source, Path) or os.path.exists(text):
        return _local(text)
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() == "file":
        return _local(unquote(urlsplit(text).path))
    if scheme:
        return Location(Kind.NETWORK, text, mask_secrets(text))
    device_format, separator, name = text.partition(":")
    if separator and device_format in _DEVICE_FORMATS:
        return Location(Kind.DEVICE, name, text, device_format)
    return _local(text)


def mask_secrets(url: str) -> str:
    """The address without its user, password, and values in the query that look like keys."""
    return _QUERY_SECRET.sub(rf"\g<1>{_MASK}", _USER_INFO.sub(rf"\g<1>{_MASK}@", url))


def _local(path: str) -> Location:
    if _is_character_device(path) or re.match(r"^/dev/video\d+$", path):
        return Location(Kind.DEVICE, path, path, _VIDEO_DEVICE_FORMAT)
    # A colon would make FFmpeg read the name as a protocol.
    is_plain = os.name == "nt" or ":" not in path
    return Location(Kind.FILE, path if is_plain else f"file:{path}", path)


def _is_character_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False
