"""What hits of a standing question are worth, by looking at each pair of a hit and a span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    start: float
    end: float
    is_due: bool = True


def told_by(spans: Sequence[Span], hit: float) -> Span | None:
    """The span that a hit tells of: the one that began last of those that it lies in."""
    return max((s for s in spans if s.start <= hit <= s.end), key=lambda s: s.start, default=None)


def kinds_of_hits(spans: Sequence[Span], hits: Sequence[float]) -> list[str]:
    """ "news", "again" or "false" for each hit."""
    kinds = []
    for index, hit in enumerate(hits):
        span = told_by(spans, hit)
        earlier = [told_by(spans, other) for other in hits[:index]]
        kinds.append("false" if span is None else "again" if span in earlier else "news")
    return kinds


def delays(spans: Sequence[Span], hits: Sequence[float]) -> list[float | None]:
    """Of each due span, to the first hit that tells of it."""
    return [
        min((hit - span.start for hit in hits if told_by(spans, hit) == span), default=None)
        for span in spans
        if span.is_due
    ]
