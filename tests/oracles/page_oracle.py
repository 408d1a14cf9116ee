"""What the page's pure functions should say, written from their definitions and slow."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal


def clock(seconds: float, n_digits: int) -> str:
    """Hours, where there are any, minutes and seconds, cut after so many digits."""
    cut = (Decimal(repr(seconds)) + Decimal("1e-7")).quantize(Decimal(1).scaleb(-n_digits), rounding=ROUND_FLOOR)
    minutes, rest = divmod(cut, 60)
    hours, minutes = divmod(minutes, 60)
    digits = f"{rest:0{2 if n_digits == 0 else 3 + n_digits}.{n_digits}f}"
    return f"{hours}:{minutes:02}:{digits}" if hours else f"{minutes}:{digits}"


def sent_events(text: str) -> list[dict[str, str | None]]:
    """Server-sent events of a whole text, as the HTML standard reads it; retry and comments mean nothing here."""
    events: list[dict[str, str | None]] = []
    name, data, last_id = "", None, None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines[:-1]:
        if line == "":
            if data is not None:
                events.append({"event": name or "message", "data": data, "id": last_id})
            name, data = "", None
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data = value if data is None else f"{data}\n{value}"
        elif key == "id":
            last_id = value
    return events


def pushed_frame(pts_seconds: float, picture: bytes) -> bytes:
    """A frame as the server reads it."""
    return struct.pack(">d", pts_seconds) + picture


def losses(
    before: Sequence[tuple[int, Sequence[float]]], after: Sequence[tuple[int, Sequence[float]]]
) -> set[tuple[int, int]]:
    """(frame, layer) of which less is held than before; each memory is frames with their shares by layer."""
    held = {(frame, layer): share for frame, shares in after for layer, share in enumerate(shares)}
    return {
        (frame, layer)
        for frame, shares in before
        for layer, share in enumerate(shares)
        if share - held.get((frame, layer), 0.0) > 0.01
    }
