"""Many streams on one engine: how much they gain by sharing forwards, and how many it can keep up with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from hermes_stream.bench.crowd import Crowds, LiveStream
from hermes_stream.bench.live import LiveResult, Load, largest, run_live
from hermes_stream.bench.timing import timed
from hermes_stream.errors import LimitError

# What each stream watches in a round: the first forward has only the first streams in it.
_INTERVALS = 2
MOST_SESSIONS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsRow:
    """So many streams with full memories.

    frames_per_second: of all together, fed as fast as they go and sharing forwards; alone_frames_per_second: of the
        same streams one after another. Medians of rounds that take turns; ratio is the median of their ratios.
    The rest is of live streams, see `LiveResult`.
    """

    policy: str
    sessions: int
    chunk: int
    budget: int | None
    frames_per_second: float
    alone_frames_per_second: float
    ratio: float
    rounds: int
    live_fps: float
    live_seconds: float
    questions_per_minute: float
    questions: int
    ttft_ms_p50: float
    ttft_ms_p95: float
    dropped: int
    lag_seconds: float

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """So many streams do not fit; error says why."""

    policy: str
    sessions: int
    error: str

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """The most live streams of which none drops a frame and p95 of the time to first token stays within a bound.

    To a sixteenth. tried: what was measured on the way; an error where so many do not fit.
    """

    policy: str
    largest_sessions: int
    ttft_bound_ms: float
    live_fps: float
    live_seconds: float
    questions_per_minute: float
    tried: tuple[dict[str, Any], ...]

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


Row = StreamsRow | RefusedRow | SearchRow


def measure_streams(crowds: Crowds, memory: str, n: int, load: Load, n_rounds: int) -> StreamsRow | RefusedRow:
    """So many streams: as fast as they go, together and one after another in turn, then live."""
    try:
        with crowds.of(n) as streams:
            packed, alone = _as_fast_as_they_go(crowds, streams, n_rounds)
            live = run_live(streams, load)
            session = streams[0].session
    except LimitError as error:
        return RefusedRow(policy=memory, sessions=n, error=_one_line(error))
    n_frames = n * _INTERVALS * session.chunk_frames
    return StreamsRow(
        policy=memory,
        sessions=n,
        chunk=session.chunk_frames,
        budget=session.policy.budget_tokens,
        frames_per_second=round(n_frames / median(packed), 3),
        alone_frames_per_second=round(n_frames / median(alone), 3),
        ratio=round(median(a / p for a, p in zip(alone, packed, strict=True)), 3),
        rounds=n_rounds,
        live_fps=load.fps,
        live_seconds=load.seconds,
        questions_per_minute=load.questions_per_minute,
        questions=live.questions,
        ttft_ms_p50=live.ttft_ms_p50,
        ttft_ms_p95=live.ttft_ms_p95,
        dropped=live.dropped,
        lag_seconds=live.lag_seconds,
    )


def search_streams(
    crowds: Crowds, memory: str, load: Load, ttft_bound_ms: float, say: Callable[[str], None]
) -> SearchRow:
    """Try more and more live streams until they do not keep up. say: is told what came of each try."""
    tried: list[dict[str, Any]] = []

    def keeps_up(n: int) -> bool:
        try:
            with crowds.of(n) as streams:
                result = run_live(streams, load)
        except LimitError as error:
            tried.append({"sessions": n, "keeps_up": False, "error": _one_line(error)})
            say(f"{n} streams: {_one_line(error)}")
            return False
        is_good = result.keeps_up(ttft_bound_ms)
        tried.append({**asdict(result), "keeps_up": is_good})
        say(_told(result, is_good))
        return is_good

    return SearchRow(
        policy=memory,
        largest_sessions=largest(keeps_up, MOST_SESSIONS),
        ttft_bound_ms=ttft_bound_ms,
        live_fps=load.fps,
        live_seconds=load.seconds,
        questions_per_minute=load.questions_per_minute,
        tried=tuple(tried),
    )


def _as_fast_as_they_go(
    crowds: Crowds, streams: Sequence[LiveStream], n_rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of each round, with all streams at once and with one after another; a first round warms up."""
    engine, n_frames = crowds.engine, _INTERVALS * streams[0].session.chunk_frames
    together: list[float] = []
    alone: list[float] = []

    def begin(stream: LiveStream) -> Future[None]:
        return engine.submit_watch(stream.session, stream.next_frames(n_frames))

    def watch_together() -> None:
        for watched in [begin(stream) for stream in streams]:
            watched.result()

    def watch_one_by_one() -> None:
        for stream in streams:
            begin(stream).result()

    turns = [(together, watch_together), (alone, watch_one_by_one)]
    for _ in range(n_rounds + 1):
        # In changing order: what else the machine does disturbs both alike.
        turns.reverse()
        for taken, watch in turns:
            taken.append(timed(watch, engine.model.device)[1])
    return together[1:], alone[1:]


def _told(result: LiveResult, is_good: bool) -> str:
    return (
        f"{result.sessions} streams: {result.dropped} frames dropped, time to first token {result.ttft_ms_p95:.0f} ms "
        f"(p95 of {result.questions}): {'kept up' if is_good else 'too many'}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
