"""The largest number of pairs of events and announcements, by trying everything: augmenting paths on a graph."""

from __future__ import annotations

from collections.abc import Sequence


def most_pairs(
    events: Sequence[tuple[float, str]], announced: Sequence[tuple[float, str]], tolerance_seconds: float
) -> int:
    """Size of a maximum matching in which partners have the same text and times within the tolerance."""
    allowed = [
        [
            index
            for index, (time, text) in enumerate(announced)
            if text == event_text and abs(time - event_time) <= tolerance_seconds
        ]
        for event_time, event_text in events
    ]
    taken_by: dict[int, int] = {}

    def find_partner(event: int, tried: set[int]) -> bool:
        for index in allowed[event]:
            if index in tried:
                continue
            tried.add(index)
            if index not in taken_by or find_partner(taken_by[index], tried):
                taken_by[index] = event
                return True
        return False

    return sum(find_partner(event, set()) for event in range(len(events)))
