"""How long a question waits for its first token, and for each further one, after few and after many frames."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import cast

import numpy as np
from numpy.typing import NDArray

from hermes_stream.bench.encoding import BenchAdapter, endless, question_of
from hermes_stream.bench.latency_rows import LatencyRow, Row, StoppedRow
from hermes_stream.bench.machine import device_peak_bytes, process_peak_bytes
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.timing import AskTimes, percentile_ms, preparation_seconds, time_question, timed
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.session import Session
from hermes_stream.errors import HermesError
from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame, Query

# Of a question with its template; published figures are of questions about as long.
QUESTION_TOKENS = 64
_N_PICTURES, _PICTURES_EVERY_SECONDS = 4, 8
_N_WARM_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """Every memory with every chunk is asked after each number of frames. frames: in rising order.

    n_questions: of each memory that are counted; two more warm up. answer_tokens: of every answer, exactly.
    """

    memories: Sequence[str]
    chunks: Sequence[int]
    frames: Sequence[int]
    budget: str | int | None = None
    n_questions: int = 8
    answer_tokens: int = 8


@dataclass
class _Resident:
    """A memory that stays as it is, and what its questions took."""

    memory: str
    session: Session
    newest_frame_seconds: float
    peaks: tuple[int | None, int | None]
    asked: list[AskTimes] = field(default_factory=list)
    prepared: list[float] = field(default_factory=list)


def measure_latency(adapter: Adapter, settings: LatencySettings, say: Callable[[str], None]) -> list[Row]:
    """A row for each memory, chunk and number of frames; a row with the reason where a memory cannot go on.

    All memories stay resident and are asked in turn, in a new order each round, so that whatever else the machine does
    disturbs all alike. say: is told what has been filled.
    Raises PolicyError or ConfigError for a memory that cannot work with the model.
    """
    shown = pictures(_N_PICTURES, every_seconds=_PICTURES_EVERY_SECONDS)
    bench = BenchAdapter(adapter, shown)
    room = reserved_positions(adapter.facts.max_positions) - settings.answer_tokens
    query = Query(question_of(adapter, min(QUESTION_TOKENS, room)), max_new_tokens=settings.answer_tokens)
    residents: list[_Resident] = []
    stopped: list[Row] = []
    with Engine(cast(Adapter, bench)) as engine:
        for memory in settings.memories:
            for chunk in settings.chunks:
                filler = _Filler(engine, memory, chunk, settings, shown)
                residents += filler.fill(say)
                stopped += [] if filler.stopped is None else [filler.stopped]
        # What was recorded before a memory grew would be lost.
        engine.warm_up(questions=QUESTION_TOKENS)
        _ask_in_turn(engine, residents, query, settings.n_questions)
        n_tokens = adapter.question(query.prompt, after_video=True).shape[0]
        rows = [_row(resident, n_tokens, bench.filled_with) for resident in residents]
    return [*rows, *stopped]


class _Filler:
    """One stream on its way, leaving a fork behind at each number of frames."""

    def __init__(
        self,
        engine: Engine,
        memory: str,
        chunk: int,
        settings: LatencySettings,
        shown: Sequence[NDArray[np.uint8]],
    ) -> None:
        self._engine, self._memory, self._settings, self._shown = engine, memory, settings, shown
        self._session = engine.open(memory, budget=settings.budget, chunk=chunk)
        self.stopped: StoppedRow | None = None

    def fill(self, say: Callable[[str], None]) -> list[_Resident]:
        residents: list[_Resident] = []
        for n_frames in self._settings.frames:
            try:
                newest_frame_seconds = self._watch_until(n_frames)
            except (HermesError, MemoryError, RuntimeError) as error:  # out of positions, or of memory
                self.stopped = self._stop(n_frames, error)
                say(f"{self._memory}, chunk {self._session.chunk_frames}: {self.stopped.error}")
                break
            say(f"{self._memory}, chunk {self._session.chunk_frames}: {n_frames} frames are in")
            device = self._engine.model.device
            peaks = process_peak_bytes(), device_peak_bytes(device)
            residents.append(_Resident(self._memory, self._session.fork(), newest_frame_seconds, peaks))
        return residents

    def _watch_until(self, n_frames: int) -> float:
        """Seconds from handing over the newest frame, encoded as a live one is, until it is in."""
        session, shown = self._session, self._shown
        session.watch(endless(shown, session.stats.frames_seen, n_frames - 1))
        newest = Frame(float(n_frames - 1), shown[(n_frames - 1) % len(shown)].copy())
        return timed(lambda: session.watch(newest), self._engine.model.device)[1]

    def _stop(self, n_frames: int, error: Exception) -> StoppedRow:
        session, reason = self._session, " ".join(str(error).split())
        return StoppedRow(
            policy=self._memory,
            frames=n_frames,
            chunk=session.chunk_frames,
            frames_reached=session.stats.frames_seen,
            error=f"ends after {session.stats.frames_seen} frames: {reason}",
        )


def _ask_in_turn(engine: Engine, residents: Sequence[_Resident], query: Query, n_questions: int) -> None:
    order = list(residents)
    shuffler = random.Random(0)
    for index in range(_N_WARM_UP + n_questions):
        shuffler.shuffle(order)
        for resident in order:
            prepared = preparation_seconds(engine, resident.session, query)
            asked = time_question(resident.session, query)
            if index >= _N_WARM_UP:
                resident.prepared.append(prepared)
                resident.asked.append(asked)


def _row(resident: _Resident, n_question_tokens: int, filled_with: str) -> LatencyRow:
    session, stats = resident.session, resident.session.stats
    ttft = [times.ttft_seconds for times in resident.asked]
    tpot = [times.tpot_seconds for times in resident.asked if times.tpot_seconds is not None]
    archive_bytes = stats.archive_bytes + stats.disk_bytes
    newest_ms, preparation_ms = 1000 * resident.newest_frame_seconds, 1000 * median(resident.prepared)
    return LatencyRow(
        policy=resident.memory,
        frames=stats.frames_seen,
        chunk=session.chunk_frames,
        budget=session.policy.budget_tokens,
        ttft_ms_p50=percentile_ms(ttft, 50),
        ttft_ms_p95=percentile_ms(ttft, 95),
        tpot_ms=percentile_ms(tpot, 50) if tpot else None,
        pending_ms=round(newest_ms + preparation_ms, 3),
        newest_frame_ms=round(newest_ms, 3),
        preparation_ms=round(preparation_ms, 3),
        peak_bytes=session.stream.memory.peak_bytes + session.stream.state_bytes + archive_bytes,
        memory_bytes=stats.memory_bytes,
        archive_bytes=archive_bytes,
        process_peak_bytes=resident.peaks[0],
        device_peak_bytes=resident.peaks[1],
        held_tokens=max(stats.held_tokens),
        question_tokens=n_question_tokens,
        questions=len(ttft),
        filled_with=filled_with,
    )
