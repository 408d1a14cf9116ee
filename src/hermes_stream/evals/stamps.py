"""Times as people wrote them into StreamingBench: "00:01:05", and what was meant by "00:12450"."""

from __future__ import annotations

import re

# Longer than any video of the set, and shorter than what the two impossible stamps say.
_LONGEST_SECONDS = 3 * 3600
_USUAL = re.compile(r"\d{1,2}:\d\d:\d\d")
_FIELDS = re.compile(r"\d+(:\d+){1,2}")


def published_seconds(stamp: str) -> int | None:
    """Fields to the base of 60, however long they are; None for what has no fields."""
    if not _FIELDS.fullmatch(stamp):
        return None
    seconds = 0
    for field in stamp.split(":"):
        seconds = 60 * seconds + int(field)
    return seconds


def meant_seconds(stamp: str) -> int | None:
    """The same, but what is longer than every video has its minutes first or a colon too few: 05:11:00 is 5:11."""
    seconds = published_seconds(stamp)
    if seconds is None or seconds <= _LONGEST_SECONDS:
        return seconds
    *_, last = fields = stamp.split(":")
    minutes, rest = (fields[0], fields[1]) if len(fields) > 2 else (last[:2], last[2:4])
    return int(minutes) * 60 + int(rest or 0)


def is_usual(stamp: str) -> bool:
    """Whether a stamp is written as nearly all are."""
    return bool(_USUAL.fullmatch(stamp)) and published_seconds(stamp) == meant_seconds(stamp)
