"""What a client may name as a source, and what that name means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from hermes_stream.errors import SourceError
from hermes_stream.server.pull.networks import Forbidden
from hermes_stream.video.location import mask_secrets

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_WORLD = re.compile(r"shapestream:(\d{1,18})")
_WEB_PORTS = {"http": 80, "https": 443}
_CAMERA_PORTS = {"rtsp": 554, "rtsps": 322}
_FIRST_PRINTABLE, _DELETE = 0x20, 0x7F
_KNOWN = "rtsp://, rtsps://, http:// or https://, shapestream:SEED, or a file that --allow-local-files allows"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the server; no link any more."""

    path: Path


@dataclass(frozen=True, slots=True)
class Address:
    """Something on a network. is_camera: RTSP, otherwise HTTP."""

    url: str
    host: str
    port: int
    is_camera: bool


@dataclass(frozen=True, slots=True)
class World:
    """The synthetic world of a seed."""

    seed: int


Named = LocalFile | Address | World


def read_source(source: str, folders: Sequence[Path]) -> Named:
    """What a source's name means. folders: below which files may be watched.

    Hosts are not judged here: what a name leads to is known when it is connected to.
    Raises Forbidden, with one line, for what no client may have; SourceError for a name that cannot be, or a missing
    file.
    """
    if any(ord(letter) < _FIRST_PRINTABLE or ord(letter) == _DELETE for letter in source):
        raise SourceError("the source holds control characters; write its address in one plain line")
    scheme = _SCHEME.match(source)
    name = scheme[1].lower() if scheme else "file"
    if name == "file":
        return local_file(_path_of(source) if scheme else source, folders)
    if name in _WEB_PORTS or name in _CAMERA_PORTS:
        return _address(source)
    if name == "shapestream":
        world = _WORLD.fullmatch(source)
        if world is None:
            raise SourceError(f"{source!r} names no synthetic world; give shapestream:SEED, a number from 0 on")
        return World(int(world[1]))
    raise Forbidden(f"{mask_secrets(source)!r}: {name}: is nothing that this server opens; give {_KNOWN}")


def local_file(name: str, folders: Sequence[Path]) -> LocalFile:
    """A file below one of the folders, by its path there or its whole path; links are followed before it is judged.

    Raises Forbidden for any other place, whatever is there; SourceError where no file is.
    """
    if not folders:
        raise Forbidden("this server opens no files of its own; its operator can let it (--allow-local-files FOLDER)")
    missing = ""
    for folder in folders:
        root = folder.resolve()
        try:
            path = (root / name).resolve()
            is_file = path.is_file()
        # Too long, a NUL, links in a circle.
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError(f"{name[:80]!r} can be no file's name; give the path of a video") from error
        if path.is_relative_to(root):
            if is_file:
                return LocalFile(path)
            missing = f"{name}: no such file; give the path of a video"
    if missing:
        raise SourceError(missing)
    raise Forbidden(f"{name} is outside of the folders whose files this server opens (--allow-local-files)")


def _path_of(address: str) -> str:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise Forbidden(f"{address!r} is a file of another machine; copy it to the server")
    return unquote(parts.path)


def _address(source: str) -> Address:
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SourceError(f"{mask_secrets(source)!r} is no address ({error}); write it as {_form(source)}") from error
    if not host or not _has_slashes(source, parts):
        raise SourceError(f"{mask_secrets(source)!r} has no host; write it as {_form(source)}")
    is_camera = parts.scheme in _CAMERA_PORTS
    default = _CAMERA_PORTS[parts.scheme] if is_camera else _WEB_PORTS[parts.scheme]
    return Address(source, host, port or default, is_camera)


def _has_slashes(source: str, parts: SplitResult) -> bool:
    return source[len(parts.scheme) :].startswith("://")


def _form(source: str) -> str:
    return f"{source.partition(':')[0].lower()}://host/path"
