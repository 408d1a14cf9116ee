"""Streams that come in real time, with questions at random moments: who keeps up, and how long questions wait."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes_stream.bench.crowd import LiveStream
from hermes_stream.bench.timing import percentile_ms
from hermes_stream.engine.answer import AnswerStream
from hermes_stream.types import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes: frames of each stream at an even rate, questions to it at random (a Poisson process)."""

    fps: float
    questions_per_minute: float
    seconds: float
    query: Query
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveResult:
    """ttft: of all questions to all streams. dropped: frames that waited too long. lag_seconds: at the end, of the
    stream that was furthest behind.
    """

    sessions: int
    questions: int
    ttft_ms_p50: float
    ttft_ms_p95: float
    dropped: int
    lag_seconds: float

    def keeps_up(self, ttft_bound_ms: float) -> bool:
        return self.dropped == 0 and self.ttft_ms_p95 <= ttft_bound_ms


def run_live(streams: Sequence[LiveStream], load: Load) -> LiveResult:
    """Feed all streams and ask as the load says; returns when the last question is answered."""
    answers: list[AnswerStream] = []
    dropped_before = [stream.session.stats.frames_dropped for stream in streams]

    def offer(stream: LiveStream) -> None:
        stream.session.offer(stream.next_frames(1))

    def ask(stream: LiveStream) -> None:
        answers.append(stream.session.ask(load.query))

    frames, questions = arrivals(len(streams), load)
    events: list[tuple[float, int, Callable[[LiveStream], None]]] = []
    events += [(seconds, index, offer) for seconds, index in frames]
    events += [(seconds, index, ask) for seconds, index in questions]
    start = time.perf_counter()
    for seconds, index, happen in sorted(events, key=lambda event: event[:2]):
        time.sleep(max(0.0, start + seconds - time.perf_counter()))
        happen(streams[index])
    stats = [stream.session.stats for stream in streams]
    ttft = [answer.result().ttft_seconds for answer in answers]
    return LiveResult(
        sessions=len(streams),
        questions=len(ttft),
        ttft_ms_p50=percentile_ms(ttft, 50),
        ttft_ms_p95=percentile_ms(ttft, 95),
        dropped=sum(s.frames_dropped - before for s, before in zip(stats, dropped_before, strict=True)),
        lag_seconds=round(max(s.lag_seconds for s in stats), 3),
    )


def arrivals(n_streams: int, load: Load) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Moments and streams of the frames, and of the questions; the same for the same seed.

    Each camera starts at a moment of its own. There is at least one question, so that there is a time to tell.
    """
    draw = random.Random(load.seed)
    frames, questions = [], []
    for index in range(n_streams):
        seconds = draw.uniform(0, 1 / load.fps)
        while seconds < load.seconds:
            frames.append((seconds, index))
            seconds += 1 / load.fps
        seconds = draw.expovariate(load.questions_per_minute / 60)
        while seconds < load.seconds:
            questions.append((seconds, index))
            seconds += draw.expovariate(load.questions_per_minute / 60)
    return frames, questions or [(draw.uniform(0, load.seconds), draw.randrange(n_streams))]


def largest(keeps_up: Callable[[int], bool], most: int) -> int:
    """The largest number, at most `most`, of which this is true; 0 if there is none. To a sixteenth, from below.

    True up to some number and false above it; noise there only moves the border.
    """
    low, high = 0, 1
    while high <= most and keeps_up(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        if keeps_up(middle):
            low = middle
        else:
            high = middle
    return low
