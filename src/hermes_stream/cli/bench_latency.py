"""`hermes-stream bench latency`: does a question wait longer the longer the stream has been watched?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, Run, begin, check_counts, parse_counts, parse_memories
from hermes_stream.cli.output import each_note_once, human_bytes, say
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from hermes_stream.bench.latency_rows import Growth, LatencyRow, Row


def latency(
    *,
    memory: str = DEFAULT_MEMORY,
    frames: str = "16,64,256",
    chunk: str | None = None,
    budget: str | None = None,
    questions: int = 8,
    answer_tokens: int = 8,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Time to first token, time per output token and bytes of memories that have seen few frames and many.

    All memories stay resident and are asked in turn, so that what else the machine does disturbs all alike. What has to
    be done for the newest frame and before the question is read is the column pending. See docs/performance.md.

    Parameters
    ----------
    memory
        Policies with options, separated by commas.
    frames
        After how many frames questions are asked; numbers separated by commas.
    chunk
        Frames of a compression interval; several separated by commas. Default: what suits the model.
    budget
        Tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    questions
        To each memory, counted after two that warm up.
    answer_tokens
        Of every answer, exactly.
    out
        A folder for latency.json and latency.png.
    json
        Print one JSON object per policy, chunk and number of frames.
    """
    from hermes_stream.bench.latency import LatencySettings, measure_latency
    from hermes_stream.cli.map_recorder import check_can_draw

    check_counts(questions=questions, answer_tokens=answer_tokens)
    counts, chunks = parse_counts("--frames", frames), None if chunk is None else parse_counts("--chunk", chunk)
    memories = parse_memories(memory, budget)
    if out is not None:
        check_can_draw(out)
    run = begin(options or BenchOptions())
    settings = LatencySettings(
        memories=memories,
        chunks=chunks or [run.adapter.defaults.chunk_frames],
        frames=counts,
        budget=budget,
        n_questions=questions,
        answer_tokens=answer_tokens,
    )
    with each_note_once(), run.profiled():
        rows = measure_latency(run.adapter, settings, say)
    _put(run, rows, json=json, out=out)


def _put(run: Run, rows: Sequence[Row], *, json: bool, out: Path | None) -> None:
    """A table or JSON lines, then how each memory has grown; files and figures into `out`."""
    from hermes_stream.bench.latency_rows import LatencyRow, growths

    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows)))
    grown = growths(rows)
    for growth in grown:
        (say if json else print)(_growth_line(growth))
    measured = [row.as_row() for row in rows if isinstance(row, LatencyRow)]
    if not measured:
        raise HermesError("no memory could be asked")
    if out is not None:
        from hermes_stream.viz.speed_figures import draw_latency

        run.save(out, "latency", rows, growth=[growth.as_row() for growth in grown])
        draw_latency(measured, out / "latency.png")


def _table(rows: Sequence[Row]) -> list[str]:
    from hermes_stream.bench.latency_rows import LatencyRow

    head = ("memory", "chunk", "frames", "ttft ms", "p95", "tpot ms", "pending ms", "peak", "held")
    width = max(24, *(len(row.policy) for row in rows))
    lines = [_line(head, width)]
    for row in rows:
        if isinstance(row, LatencyRow):
            lines.append(_line(_cells(row), width))
        else:
            lines.append(f"{row.policy:{width}}{row.chunk:>6}{row.frames:>8}  {row.error}")
    return lines


def _cells(row: LatencyRow) -> tuple[object, ...]:
    tpot = "–" if row.tpot_ms is None else f"{row.tpot_ms:.2f}"
    times = f"{row.ttft_ms_p50:.2f}", f"{row.ttft_ms_p95:.2f}", tpot, f"{row.pending_ms:.2f}"
    return row.policy, row.chunk, row.frames, *times, human_bytes(row.peak_bytes), row.held_tokens


def _line(cells: Sequence[object], width: int) -> str:
    first, chunk, frames, *others = cells
    return f"{first:{width}}{chunk:>6}{frames:>8}" + "".join(f"{cell:>12}" for cell in others)


def _growth_line(growth: Growth) -> str:
    late, early = growth.late, growth.early
    return (
        f"{late.policy}, chunk {late.chunk}: {late.frames} frames against {early.frames}: "
        f"ttft x {growth.ttft_ratio:.3f}, peak x {growth.peak_ratio:.3f}"
    )
