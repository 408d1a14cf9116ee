"""What a session takes when nothing else runs: the only times that say something about its memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.session import Session
from hermes_stream.evals.side_by_side import SideBySide
from hermes_stream.types import Frame, Query

_Key = TypeVar("_Key")

_N_QUESTIONS = 7
_N_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class TimesAlone:
    """Medians. ttft_seconds: question to first token. ingest_seconds_per_frame: encoding, text model and policy."""

    ttft_seconds: float
    ingest_seconds_per_frame: float


def measure_alone(
    side: SideBySide[_Key], query: Query, pictures: Sequence[NDArray[np.uint8]], *, seconds_per_frame: float
) -> dict[_Key, TimesAlone]:
    """Ask sessions that have watched their stream, then let them watch more intervals of these pictures.

    One session at a time, all in turn, so that what else the machine does is shared out. Frames come one whole interval
    at a time. The sessions are of no use for answers afterwards. Who fails has no times.
    """
    # The first round finds caches cold that have nothing to do with a memory.
    asked = [side.try_each(lambda session: _ask(session, query)) for _ in range(1 + _N_QUESTIONS)][1:]
    watched = [
        side.try_each(lambda session: _watch_interval(session, pictures, seconds_per_frame))
        for _ in range(_N_INTERVALS)
    ]
    return {
        key: TimesAlone(median(seconds[key] for seconds in asked), median(seconds[key] for seconds in watched))
        for key in side.sessions
    }


def _ask(session: Session, query: Query) -> float:
    return session.ask(query).result().ttft_seconds


def _watch_interval(session: Session, pictures: Sequence[NDArray[np.uint8]], seconds_per_frame: float) -> float:
    """Seconds a frame. The frames are new ones, since encodings of known ones are shared."""
    start, n_frames = session.stats.time_seconds, session.chunk_frames
    frames = [
        Frame(start + (index + 1) * seconds_per_frame, pictures[index % len(pictures)]) for index in range(n_frames)
    ]
    began = time.perf_counter()
    session.watch(frames)
    return (time.perf_counter() - began) / n_frames
