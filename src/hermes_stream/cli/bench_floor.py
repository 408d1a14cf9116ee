"""`hermes-stream bench floor`: how far from what the hardware allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, begin
from hermes_stream.cli.output import each_note_once, say

if TYPE_CHECKING:
    from hermes_stream.bench.floor import FloorRow


def floor(
    *,
    results: Path | None = None,
    budget: str | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Measure this machine's copies and matrix products, and put each figure beside what they allow.

    The floor of a question, a decode step and a frame: weights read once, keys and values read once, and arithmetic at
    the best rate seen, one after the other. See docs/performance.md.

    Parameters
    ----------
    results
        A latency.json or ingest.json of this model on this machine. Without one, a memory is filled and measured now.
    budget
        Of the memory that is measured now: tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    out
        A folder for floor.json and floor.png.
    json
        Print one JSON object per figure.
    """
    from hermes_stream.bench.floor_measure import figures_of, floor_rows, measure_figures
    from hermes_stream.bench.latency import QUESTION_TOKENS
    from hermes_stream.bench.rates import measure_rates
    from hermes_stream.bench.results import read_results
    from hermes_stream.cli.map_recorder import check_can_draw

    if out is not None:
        check_can_draw(out)
    options = options or BenchOptions()
    given = None if results is None else figures_of(read_results(results), options.model)
    run = begin(options)
    facts = run.adapter.facts
    with run.profiled(), each_note_once():
        interval_tokens = run.adapter.defaults.chunk_frames * facts.tokens_per_frame
        rates = measure_rates(facts, run.adapter.text_sizes, [QUESTION_TOKENS, interval_tokens])
        say(f"copies {rates.bytes_per_second / 1e9:,.1f} GB/s, matrices {rates.flops_per_second / 1e9:,.1f} GFLOP/s")
        figures = given or [measure_figures(run.adapter, budget)]
    rows = [row for one in figures for row in floor_rows(run.adapter, one, rates)]
    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows)))
    if out is not None:
        from hermes_stream.viz.speed_figures import draw_floor

        run.save(out, "floor", rows)
        draw_floor([row.as_row() for row in rows], out / "floor.png")


def _table(rows: Sequence[FloorRow]) -> list[str]:
    names = [f"{row.figure} · {row.source}, {row.held_tokens} held" for row in rows]
    width = max(map(len, names))
    lines = [f"{'ms':{width}}{'weights':>10}{'KV':>10}{'arithmetic':>12}{'floor':>10}{'measured':>11}{'ratio':>8}"]
    for name, row in zip(names, rows, strict=True):
        measured = "–" if row.measured_ms is None else f"{row.measured_ms:.2f}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        parts = f"{row.weights_ms:>10.3f}{row.kv_ms:>10.3f}{row.arithmetic_ms:>12.3f}{row.floor_ms:>10.3f}"
        lines.append(f"{name:{width}}{parts}{measured:>11}{ratio:>8}")
    return lines
