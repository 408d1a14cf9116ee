"""How long each stage takes while everything runs as usual: on the device's own clock, without waiting for it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hermes_stream.stages import DECODE


@dataclass(frozen=True, slots=True)
class Clock:
    """mark: a moment; between: seconds from one moment to another, once both are over."""

    mark: Callable[[], Any]
    between: Callable[[Any, Any], float]


HOST = Clock(time.perf_counter, lambda start, end: float(end - start))


def clock_of(device: torch.device) -> Clock:
    """A GPU runs behind the host and keeps its own time; marks in its stream cost no synchronisation."""
    return Clock(_cuda_event, _cuda_seconds) if device.type == "cuda" else HOST


class StageTimes:
    """Adds up the seconds of each stage over all threads; those of a stage inside another count for the inner one.

    Use with `stages.listening`; read `seconds()` once the device is done.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open = threading.local()
        self._spans: list[_Span] = []

    def begin(self, name: str) -> None:
        # Videos are decoded by the host, beside whatever the device does.
        clock = HOST if name == DECODE else self._clock
        outer = self._stack[-1] if self._stack else None
        self._stack.append(_Span(name, outer, clock, clock.mark()))

    def end(self, name: str) -> None:
        span = self._stack.pop()
        assert span.name == name
        span.end = span.clock.mark()
        self._spans.append(span)

    def seconds(self) -> dict[str, float]:
        """Of each stage that has ended, by name."""
        total: defaultdict[str, float] = defaultdict(float)
        for span in self._spans:
            seconds = span.clock.between(span.start, span.end)
            total[span.name] += seconds
            if span.outer is not None:
                total[span.outer.name] -= seconds
        return dict(total)

    @property
    def _stack(self) -> list[_Span]:
        """Of the thread that asks."""
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        stack: list[_Span] = self._open.stack
        return stack


@dataclass(slots=True)
class _Span:
    name: str
    outer: _Span | None
    clock: Clock
    start: Any
    end: Any = None


def _cuda_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _cuda_seconds(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
    return float(start.elapsed_time(end)) / 1000
