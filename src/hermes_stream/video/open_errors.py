"""Why a video did not open, in one line that says what to do.

FFmpeg answers "Invalid data found when processing input" to an empty file, a text file and half a film alike; looking
at the first bytes tells them apart.
"""

from __future__ import annotations

from pathlib import Path

import av

from hermes_stream.errors import SourceError
from hermes_stream.video.location import Kind, Location

_N_SNIFFED_BYTES = 4096
# Types of the first box of an mp4 or mov file: bytes 4 to 8.
_MP4_BOXES = frozenset({b"ftyp", b"mdat", b"moov", b"wide", b"free", b"skip"})
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")
_FIRST_PRINTABLE = 0x20
_N_SHOWN_ARGUMENTS = 2


def check_local_file(location: Location) -> None:
    """Name what FFmpeg would name badly: a missing path, a folder, an empty file.

    Raises SourceError.
    """
    path = Path(location.shown)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise SourceError(f"{location.shown}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{location.shown}: cannot be read ({error}); check the path and its permissions") from error
    if path.is_dir():
        raise SourceError(f"{location.shown} is a folder; name a video file inside it")
    if path.is_file() and status.st_size == 0:
        raise SourceError(f"{location.shown} is empty (0 bytes); download or record it again")


def source_error(location: Location, error: Exception, open_timeout_seconds: float) -> SourceError:
    """The error to raise instead of FFmpeg's own, whose copy of the address is masked as well."""
    hide_secrets(error, location)
    if location.kind is Kind.FILE:
        return SourceError(f"{location.shown} {_file_problem(location, error)}")
    reason = reason_of(error)
    if location.kind is Kind.DEVICE:
        return SourceError(
            f"cannot open the device {location.shown}: {reason}; check its name and that nobody else uses it"
        )
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return SourceError(
            f"{location.shown} did not answer within {open_timeout_seconds:g} s; check the address and the network"
        )
    return SourceError(f"cannot open {location.shown}: {reason}; {_network_hint(error)}")


def hide_secrets(error: Exception, location: Location) -> None:
    """FFmpeg's errors repeat the address; tracebacks print them."""
    if isinstance(error, av.FFmpegError) and location.kind is Kind.NETWORK:
        error.args = (*error.args[:_N_SHOWN_ARGUMENTS], location.shown)


def reason_of(error: Exception) -> str:
    """FFmpeg's words for an error, without the address."""
    return str(getattr(error, "strerror", None) or error)


def _network_hint(error: Exception) -> str:
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "put user:password@ before the host name"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "use a file, or an address that starts with rtsp://, http://, https:// or rtmp://"
    return "check the address and that the server is running"


def _file_problem(location: Location, error: Exception) -> str:
    if isinstance(error, av.error.PermissionError):
        return "may not be read; check its permissions"
    head = _head(location)
    if head[4:8] in _MP4_BOXES:
        return "is cut short or damaged: its index (moov) cannot be read; copy, download or record it again"
    if is_text(head):
        return "is a text file, not a video; give a video file"
    return f"is not a video that can be read ({reason_of(error)}); check the file, or convert it to mp4"


def is_text(head: bytes) -> bool:
    """Whether these bytes read as text: UTF-8 but for a cut end, and no control characters."""
    if not head or any(byte < _FIRST_PRINTABLE and byte not in _TEXT_CONTROLS for byte in head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.end >= len(head) and error.start > 0
    return True


def _head(location: Location) -> bytes:
    path = Path(location.shown)
    try:
        if not path.is_file():  # reading a pipe would wait for its writer
            return b""
        with path.open("rb") as file:
            return file.read(_N_SNIFFED_BYTES)
    except OSError:
        return b""
