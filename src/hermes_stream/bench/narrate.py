"""What a commentary takes, second by second: time and memory of each step, and who keeps up with a live source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from statistics import median
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hermes_stream.bench.encoding import BenchAdapter
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.timing import percentile_ms
from hermes_stream.engine.commentary.narration import Narration
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.session import Session
from hermes_stream.errors import LimitError
from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame

_INSTRUCTION = "Say what happens, as it happens."
_N_PICTURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrateLoad:
    """What every memory gets: steps of one second.

    fps: frames of a step. tokens: of every reply, exactly. live_seconds: in real time, after that; 0 is not at all.
    """

    steps: int
    fps: int
    tokens: int
    live_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrateRow:
    """One memory. Of first and last: the first and the last tenth of its steps, medians.

    steps: that it came to; ended: why no further, empty where it could have gone on.
    step_ms: from frames to the last word, vision tower included; cpu_ms: of the processor in that time, all threads,
    which other work on the machine does not change. token_ms: step_ms divided by the tokens of the step.
    decode_ms: of each token alone. available_per_second: tokens that can be decoded in a second; needed_per_second: of
    video. sustained_fps: frames of a step in the time of one. lag_per_second: by how much it falls behind in a second
    of video if it may drop nothing. held: rows of a layer, and features. live_*: a live source, kept up with by
    silence.
    """

    memory: str
    steps: int
    ended: str
    step_ms_first: float
    step_ms_last: float
    step_ms_p95: float
    cpu_ms_first: float
    cpu_ms_last: float
    token_ms_first: float
    token_ms_last: float
    decode_ms: float
    available_per_second: float
    needed_per_second: float
    sustained_fps: float
    lag_per_second: float
    held_first: int
    held_last: int
    memory_bytes_first: int
    memory_bytes_last: int
    next_position: int
    live_spoken: int = 0
    live_silent: int = 0
    live_frames_dropped: int = 0
    live_lag_seconds: float = 0.0

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Step:
    """One step: how long it took, on the clock and of the processor; the words alone; what is held after it."""

    seconds: float
    cpu_seconds: float
    speaking_seconds: float
    held: int
    n_bytes: int


def measure_narration(adapter: Adapter, memory: str, load: NarrateLoad, *, budget: str | None) -> NarrateRow:
    """A commentary with this memory, then, if the load says so, another one that follows a live source.

    Raises PolicyError or ConfigError for a memory that cannot work with the model.
    """
    shown = pictures(_N_PICTURES)
    with Engine(cast(Adapter, BenchAdapter(adapter, ()))) as engine, engine.open(memory, budget=budget) as session:
        steps, ended = _narrated(session, shown, load)
        live = _followed(engine, memory, shown, load, budget) if load.live_seconds else {}
        return _row(memory, steps, ended, session, load, live)


def _begun(session: Session, load: NarrateLoad) -> Narration:
    return session.narrate(_INSTRUCTION, tokens_per_second=load.tokens)


def _narrated(session: Session, shown: Sequence[NDArray[np.uint8]], load: NarrateLoad) -> tuple[list[_Step], str]:
    """All steps, or as many as the model has positions for."""
    steps: list[_Step] = []
    narration = _begun(session, load)
    for index in range(load.steps):
        cpu_began = time.process_time()
        try:
            remark = narration.round(index, frames_of(index, shown, load.fps))
        except LimitError as error:
            return steps, str(error)
        cpu_seconds, version = time.process_time() - cpu_began, session.memory
        held = max(version.held_tokens) + version.features.n_rows
        steps.append(_Step(remark.seconds, cpu_seconds, remark.speaking_seconds, held, session.stats.memory_bytes))
    return steps, ""


def frames_of(step: int, shown: Sequence[NDArray[np.uint8]], fps: int) -> list[Frame]:
    """The frames of one second."""
    return [Frame(step + index / fps, shown[(step * fps + index) % len(shown)]) for index in range(fps)]


def _followed(
    engine: Engine, memory: str, shown: Sequence[NDArray[np.uint8]], load: NarrateLoad, budget: str | None
) -> dict[str, Any]:
    """A session of its own that follows a source in real time; the lag is the largest of its second half."""
    with engine.open(memory, budget=budget) as session:
        narration = _begun(session, load)
        try:
            lags = [remark.lag_seconds for remark in narration.follow(_in_real_time(shown, load))]
        except LimitError:
            return {}
        pulse = narration.pulse
    return {
        "live_spoken": pulse.n_spoken,
        "live_silent": pulse.n_skipped,
        "live_frames_dropped": pulse.n_dropped,
        "live_lag_seconds": round(max(lags[len(lags) // 2 :], default=0.0), 3),
    }


def _in_real_time(shown: Sequence[NDArray[np.uint8]], load: NarrateLoad) -> Iterator[Frame]:
    began = time.monotonic()
    for step in count():
        if step == load.live_seconds:
            return
        for frame in frames_of(step, shown, load.fps):
            time.sleep(max(0.0, began + frame.pts_seconds - time.monotonic()))
            yield frame


def _row(
    memory: str, steps: Sequence[_Step], ended: str, session: Session, load: NarrateLoad, live: dict[str, Any]
) -> NarrateRow:
    tenth = max(len(steps) // 10, 1)
    first, last = steps[:tenth], steps[-tenth:]
    step_first, step_last = (median(step.seconds for step in part) for part in (first, last))
    speaking_seconds = median(step.speaking_seconds for step in last)
    return NarrateRow(
        memory=memory,
        steps=len(steps),
        ended=ended,
        step_ms_first=_ms(step_first),
        step_ms_last=_ms(step_last),
        step_ms_p95=percentile_ms([step.seconds for step in steps], 95),
        cpu_ms_first=_ms(median(step.cpu_seconds for step in first)),
        cpu_ms_last=_ms(median(step.cpu_seconds for step in last)),
        token_ms_first=_ms(step_first / load.tokens),
        token_ms_last=_ms(step_last / load.tokens),
        decode_ms=_ms(speaking_seconds / load.tokens),
        available_per_second=round(load.tokens / speaking_seconds, 2),
        needed_per_second=float(load.tokens),
        sustained_fps=round(load.fps / step_last, 2),
        lag_per_second=round(max(step_last - 1.0, 0.0), 3),
        held_first=round(median(step.held for step in first)),
        held_last=round(median(step.held for step in last)),
        memory_bytes_first=round(median(step.n_bytes for step in first)),
        memory_bytes_last=round(median(step.n_bytes for step in last)),
        next_position=session.memory.next_position,
        **live,
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
