"""What FFmpeg's RTSP client makes of the bytes that a server sends, one byte at a time.

From libavformat/rtsp.c of FFmpeg 8.1: lines end with LF, CR is dropped, a line keeps 4,095 bytes and ends at a NUL for
those who read it; `$` at the start of a line is an interleaved packet (in some versions of the first line only); the
status is what `atoi` makes of the second word of a first line that begins with RTSP/; Content-Length is what `strtol`
makes of it, the last one counts.
"""

from __future__ import annotations

import re

_MOST_LINE_BYTES = 4095
_SPACE = b" \t\r\n\v\f"


class _End(Exception):
    """Nothing more has come."""


class _Client:
    def __init__(self, stream: bytes, *, has_packets_everywhere: bool) -> None:
        self._stream, self._place = stream, 0
        self._has_packets_everywhere = has_packets_everywhere

    def statuses(self) -> list[int]:
        found: list[int] = []
        try:
            while True:
                found.append(self._reply(found))
        except _End:
            return found

    def _take(self, n_bytes: int) -> bytes:
        data = self._stream[self._place : self._place + n_bytes]
        self._place += n_bytes
        if len(data) < n_bytes:
            raise _End
        return data

    def _line(self, *, is_first: bool) -> bytes:
        line = b""
        while (byte := self._take(1)) != b"\n":
            if byte == b"$" and not line and (is_first or self._has_packets_everywhere):
                self._take(int.from_bytes(self._take(3)[1:], "big"))
            elif byte != b"\r" and len(line) < _MOST_LINE_BYTES:
                line += byte
        return line.partition(b"\0")[0]

    def _reply(self, found: list[int]) -> int:
        status = n_body = 0
        is_first = True
        while line := self._line(is_first=is_first):
            if is_first:
                words = line.split()
                if words and words[0].startswith(b"RTSP/"):
                    status = _atoi(words[1]) if len(words) > 1 else 0
            elif line.lower().startswith(b"content-length:"):
                n_body = _atoi(line[len(b"content-length:") :])
            is_first = False
        # The client looks at the status before it reads on.
        if n_body > 0:
            try:
                self._take(n_body)
            except _End:
                found.append(status)
                raise
        return status


def _atoi(text: bytes) -> int:
    number = re.match(rb"[+-]?\d+", text.lstrip(_SPACE))
    return int(number[0]) if number else 0


def is_redirected(stream: bytes) -> bool:
    """Whether some FFmpeg would find a redirect in what a server has sent."""
    statuses = [
        status
        for everywhere in (False, True)
        for status in _Client(stream, has_packets_everywhere=everywhere).statuses()
    ]
    return any(300 <= status < 400 for status in statuses)
