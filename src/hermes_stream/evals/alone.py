"""What a session takes when nothing else runs: the only times that say something about its memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hermes_stream.engine.session import Session
from hermes_stream.types import Frame, Query

_N_QUESTIONS = 7
_N_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class TimesAlone:
    """Medians. ttft_seconds: question to first token. ingest_seconds_per_frame: encoding, text model and policy."""

    ttft_seconds: float
    ingest_seconds_per_frame: float


def measure_alone(
    session: Session, query: Query, pictures: Sequence[NDArray[np.uint8]], *, seconds_per_frame: float
) -> TimesAlone:
    """Ask a session that has watched its stream, then let it watch more intervals of these pictures.

    Frames come one whole interval at a time. The session is of no use for answers afterwards.
    """
    session.ask(query).result()  # caches of the machine, not of the memory, may be cold
    ttft = median(session.ask(query).result().ttft_seconds for _ in range(_N_QUESTIONS))
    n_frames = session.chunk_frames
    start = session.stats.time_seconds
    ingest = []
    for interval in range(_N_INTERVALS):
        times = (start + (interval * n_frames + index + 1) * seconds_per_frame for index in range(n_frames))
        # New frames each time: encodings of known ones are shared.
        frames = [Frame(at, pictures[index % len(pictures)]) for index, at in enumerate(times)]
        began = time.perf_counter()
        session.watch(frames)
        ingest.append((time.perf_counter() - began) / n_frames)
    return TimesAlone(ttft, median(ingest))
