"""`hermes-stream bench streams`: many streams at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, Run, begin, check_counts, parse_counts, parse_memories
from hermes_stream.cli.output import each_note_once, say
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.bench.streams import Row


def streams(
    *,
    sessions: str = "1,4,16",
    memory: str = DEFAULT_MEMORY,
    chunk: int | None = None,
    budget: str | None = None,
    fps: float = 1.0,
    questions_per_minute: float = 6.0,
    seconds: float = 20.0,
    rounds: int = 3,
    answer_tokens: int = 8,
    search: Annotated[bool, Parameter(negative="")] = False,
    ttft_bound_ms: float = 150.0,
    seed: int = 0,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Throughput of many streams that share forwards, against one after another; then live, with random questions.

    Live streams offer a frame at a time; one that waits while two newer ones come is dropped.

    Parameters
    ----------
    sessions
        How many; numbers separated by commas.
    memory
        A policy with options.
    chunk
        Frames of a compression interval. Default: what suits the model.
    budget
        Tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    fps
        Frames per second of a live stream.
    questions_per_minute
        To each live stream, on average.
    seconds
        How long streams are live.
    rounds
        Of full speed, together and one after another; medians are shown.
    answer_tokens
        Of every answer, exactly.
    search
        Find the most live streams of which none drops a frame, with questions within the bound.
    ttft_bound_ms
        For p95 of the time to first token, in the search.
    seed
        Of cameras and questions.
    out
        A folder for streams.json and streams.png.
    json
        Print one JSON object per number of sessions, and one for the search.
    """
    from hermes_stream.bench.crowd import crowds
    from hermes_stream.bench.encoding import question_of
    from hermes_stream.bench.latency import QUESTION_TOKENS
    from hermes_stream.bench.live import Load
    from hermes_stream.bench.streams import measure_streams, search_streams
    from hermes_stream.cli.map_recorder import check_can_draw
    from hermes_stream.types import Query

    counts = parse_counts("--sessions", sessions)
    check_counts(rounds=rounds, answer_tokens=answer_tokens, chunk=1 if chunk is None else chunk)
    _check_positive(fps=fps, questions_per_minute=questions_per_minute, seconds=seconds, ttft_bound_ms=ttft_bound_ms)
    if len(parse_memories(memory, budget)) > 1:
        raise ConfigError(f"--memory {memory} are several policies; give one")
    if out is not None:
        check_can_draw(out)
    run = begin(options or BenchOptions())
    query = Query(question_of(run.adapter, QUESTION_TOKENS), max_new_tokens=answer_tokens)
    load = Load(fps=fps, questions_per_minute=questions_per_minute, seconds=seconds, query=query, seed=seed)
    rows: list[Row] = []
    with each_note_once(), crowds(run.adapter, memory, budget=budget, chunk=chunk, fps=fps) as made, run.profiled():
        for n in counts:
            rows.append(measure_streams(made, memory, n, load, rounds))
            say(f"{n} streams are measured")
        if search:
            rows.append(search_streams(made, memory, load, ttft_bound_ms, say))
    _put(run, rows, json=json, out=out)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"--{name.replace('_', '-')} is {value:g}; give a number above 0")


def _put(run: Run, rows: Sequence[Row], *, json: bool, out: Path | None) -> None:
    from hermes_stream.bench.streams import StreamsRow

    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows)))
    if out is not None:
        from hermes_stream.viz.stream_figures import draw_streams

        run.save(out, "streams", rows)
        draw_streams([row.as_row() for row in rows if isinstance(row, StreamsRow)], out / "streams.png")


def _table(rows: Sequence[Row]) -> list[str]:
    from hermes_stream.bench.streams import RefusedRow, StreamsRow

    lines = ["sessions  frames/s     alone    gain   ttft ms       p95   dropped     lag s"]
    for row in rows:
        if isinstance(row, StreamsRow):
            lines.append(
                f"{row.sessions:8}{row.frames_per_second:10.2f}{row.alone_frames_per_second:10.2f}{row.ratio:8.2f}"
                f"{row.ttft_ms_p50:10.1f}{row.ttft_ms_p95:10.1f}{row.dropped:10}{row.lag_seconds:10.1f}"
            )
        elif isinstance(row, RefusedRow):
            lines.append(f"{row.sessions:8}  {row.error}")
        else:
            lines.append(
                f"live at {row.live_fps:g} fps with {row.questions_per_minute:g} questions a minute, nothing dropped "
                f"and p95 within {row.ttft_bound_ms:g} ms: {row.largest_sessions} streams"
            )
    return lines
