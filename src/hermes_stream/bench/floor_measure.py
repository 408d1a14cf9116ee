"""Figures to put beside their floors: from a file of another measurement, or measured quickly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import torch

from hermes_stream.bench.encoding import BenchAdapter, endless, question_of
from hermes_stream.bench.floor import FloorRow, Rates, Work, frame_work, question_work
from hermes_stream.bench.latency import QUESTION_TOKENS
from hermes_stream.bench.pictures import pictures
from hermes_stream.bench.timing import percentile_ms, time_question, timed
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.engine.engine import Engine
from hermes_stream.engine.opening import reserved_positions
from hermes_stream.engine.session import Session
from hermes_stream.errors import ConfigError
from hermes_stream.models.adapter import Adapter
from hermes_stream.types import Frame, Query

_N_WARM_UP, _N_QUESTIONS = 2, 5
_ANSWER_TOKENS = 8
_N_PICTURES, _PICTURES_EVERY_SECONDS = 2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One memory: times in milliseconds, None where not measured. held_tokens: rows of a layer, prefix apart.

    frame_ms: of each frame of an interval of chunk_frames. frame_tokens: that one brings.
    """

    source: str
    held_tokens: int
    question_tokens: int | None = None
    question_ms: float | None = None
    step_ms: float | None = None
    chunk_frames: int | None = None
    frame_tokens: float | None = None
    frame_ms: float | None = None


def measure_figures(adapter: Adapter, budget: str | int | None) -> Figures:
    """Fill a memory, ask a few questions, then let it watch one interval whose frames are encoded as they come."""
    shown = pictures(_N_PICTURES, every_seconds=_PICTURES_EVERY_SECONDS)
    facts = adapter.facts
    room = reserved_positions(facts.max_positions) - _ANSWER_TOKENS
    text = question_of(adapter, min(QUESTION_TOKENS, room))
    query = Query(text, max_new_tokens=_ANSWER_TOKENS)
    with Engine(cast(Adapter, BenchAdapter(adapter, shown))) as engine:
        session = engine.open(DEFAULT_MEMORY, budget=budget)
        n_frames = _fill(session, endless(shown, 0, 10**9))
        engine.warm_up(questions=QUESTION_TOKENS)
        times = [time_question(session, query) for _ in range(_N_WARM_UP + _N_QUESTIONS)][_N_WARM_UP:]
        held = max(session.stats.held_tokens)
        before = session.stats.tokens_seen
        fresh = [
            Frame(f.pts_seconds, f.image_YXC.copy()) for f in endless(shown, n_frames, n_frames + session.chunk_frames)
        ]
        _, seconds = timed(lambda: session.watch(fresh), facts.device)
        steps = [one.tpot_seconds for one in times if one.tpot_seconds is not None]
        return Figures(
            source=f"{DEFAULT_MEMORY}, measured now",
            held_tokens=held,
            question_tokens=adapter.question(text, after_video=True).shape[0],
            question_ms=percentile_ms([one.ttft_seconds for one in times], 50),
            step_ms=percentile_ms(steps, 50),
            chunk_frames=session.chunk_frames,
            frame_tokens=(session.stats.tokens_seen - before) / session.chunk_frames,
            frame_ms=round(1000 * seconds / session.chunk_frames, 3),
        )


def _fill(session: Session, frames: Iterator[Frame]) -> int:
    """Watch whole intervals until the policy has evicted; returns how many frames that took."""
    while session.stats.n_compressions == 0:
        session.watch(islice(frames, session.chunk_frames))
    return session.stats.frames_seen


def figures_of(results: Mapping[str, Any], model: str) -> list[Figures]:
    """Those of a file of `bench latency` or `bench ingest`. Raises ConfigError for other files and another model's."""
    measured = results.get("settings", {}).get("model")
    if measured != model:
        raise ConfigError(f"the results are of {measured}, but --model is {model}; floors are of one model")
    found = []
    for row in results["rows"]:
        source = f"{row.get('policy')}, {row.get('frames')} frames"
        if "ttft_ms_p50" in row and "held_tokens" in row:
            found.append(
                Figures(
                    source=source,
                    held_tokens=row["held_tokens"],
                    question_tokens=row["question_tokens"],
                    question_ms=row["ttft_ms_p50"],
                    step_ms=row["tpot_ms"],
                )
            )
        elif "frames_per_second" in row and "held_tokens" in row:
            found.append(
                Figures(
                    source=source,
                    held_tokens=row["held_tokens"],
                    chunk_frames=row["chunk"],
                    frame_tokens=row["tokens_per_frame"],
                    frame_ms=round(1000 / row["frames_per_second"], 3),
                )
            )
    if not found:
        raise ConfigError("no rows of bench latency or bench ingest in the results; give a file of one of them")
    return found


def floor_rows(adapter: Adapter, figures: Figures, rates: Rates) -> list[FloorRow]:
    """A row for each figure that was measured."""
    sizes, facts, rows = adapter.text_sizes, adapter.facts, []
    element_bytes = torch.empty(0, dtype=facts.dtype).element_size()
    # Only the text model's linear weights are stored in fewer bits where the model is quantised.
    linear_bytes = facts.weight_bytes - (facts.n_parameters - sizes.n_weights) * element_bytes
    n_held = figures.held_tokens + facts.prefix_tokens

    def add(figure: str, work: Work, measured_ms: float | None) -> None:
        rows.append(FloorRow.of(figure, figures.source, figures.held_tokens, work, rates, measured_ms))

    if figures.question_tokens is not None:
        work = question_work(sizes, linear_bytes, figures.question_tokens, n_held, element_bytes)
        add(f"question of {figures.question_tokens} tokens", work, figures.question_ms)
    if figures.step_ms is not None:
        add("decode step", question_work(sizes, linear_bytes, 1, n_held, element_bytes), figures.step_ms)
    if figures.chunk_frames is not None and figures.frame_tokens is not None:
        shown = pictures(facts.frames_per_grid)
        grid = [Frame(float(second), picture) for second, picture in enumerate(shown)]
        encoding = adapter.encoding_flops(grid) / facts.frames_per_grid
        work = frame_work(
            sizes, linear_bytes, encoding, figures.frame_tokens, figures.chunk_frames, n_held, element_bytes
        )
        add(f"frame, in intervals of {figures.chunk_frames}", work, figures.frame_ms)
    return rows
