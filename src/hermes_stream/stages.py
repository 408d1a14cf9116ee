"""The stages of the work by name: the same in traces, in NVIDIA's profilers and in measurements.

    with stage(VISION):
        ...

Shows as a range in a trace of `torch.profiler`, as an NVTX range where there is CUDA, and to whoever is `listening`.
Where nobody looks it costs a third of a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Protocol

import torch
from torch.autograd import profiler

DECODE = "video decode"
VISION = "vision tower"
TEXT = "text model"
PROBE = "probe"
SCORE = "scoring"
EVICT = "eviction"
PLACE = "re-placement"
SAMPLE = "sampling"
STAGES = DECODE, VISION, TEXT, PROBE, SCORE, EVICT, PLACE, SAMPLE


class Listener(Protocol):
    """Is told when stages begin and end, on the thread that they run on; stages of one thread nest."""

    def begin(self, name: str) -> None: ...

    def end(self, name: str) -> None: ...


_listener: Listener | None = None


def stage(name: str) -> _Stage:
    """A context manager that gives what runs in it one of the names above."""
    return _Stage(name)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` about all stages of all threads; one listener at a time."""
    global _listener
    _listener = listener
    try:
        yield
    finally:
        _listener = None


class _Stage:
    __slots__ = ("_listener", "_name", "_range")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._range: profiler.record_function | None = None
        # Asked first, because a range costs ten microseconds even where no profiler runs (PyTorch 2.13).
        if profiler._is_profiler_enabled:
            self._range = profiler.record_function(self._name)
            self._range.__enter__()
        if _has_cuda():
            torch.cuda.nvtx.range_push(self._name)
        # Whoever was told of the beginning is told of the end.
        self._listener = _listener
        if self._listener is not None:
            self._listener.begin(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.end(self._name)
        if _has_cuda():
            torch.cuda.nvtx.range_pop()
        if self._range is not None:
            self._range.__exit__(kind, error, trace)


@cache
def _has_cuda() -> bool:
    return torch.cuda.is_available()
