"""`hermes-stream bench peers`: the same question answered as people do it today."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, begin, check_counts
from hermes_stream.cli.output import each_note_once, human_bytes, say

if TYPE_CHECKING:
    from hermes_stream.bench.peers import PeerRow


def peers(
    *,
    frames: int = 64,
    budget: str | None = None,
    questions: int = 8,
    answer_tokens: int = 8,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """The same question to the same frames through transformers alone, ReKV's retrieval and this engine.

    transformers.generate runs the whole window again for each question; a growing cache holds it, with room for nothing
    to leave. Both get the frames as encoded, and stock attention. All are warmed up and asked in turn; who takes more
    than a minute is asked once. See docs/performance.md.

    Parameters
    ----------
    frames
        Of the stream, and of the window that is run again.
    budget
        Of this engine's memory: tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    questions
        To each peer.
    answer_tokens
        Of every answer, exactly.
    out
        A folder for peers.json and peers.png.
    json
        Print one JSON object per peer.
    """
    from hermes_stream.bench.peers import PeersSettings, measure_peers
    from hermes_stream.cli.map_recorder import check_can_draw

    check_counts(frames=frames, questions=questions, answer_tokens=answer_tokens)
    if out is not None:
        check_can_draw(out)
    run = begin(options or BenchOptions())
    settings = PeersSettings(frames=frames, budget=budget, n_questions=questions, answer_tokens=answer_tokens)
    with run.profiled(), each_note_once():
        rows = measure_peers(run.adapter, settings, say)
    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows)))
    if out is not None:
        from hermes_stream.viz.speed_figures import draw_peers

        run.save(out, "peers", rows, frames=frames)
        draw_peers([row.as_row() for row in rows], out / "peers.png")


def _table(rows: Sequence[PeerRow]) -> list[str]:
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}{'ttft ms':>12}{'against':>10}{'tpot ms':>12}{'peak':>12}{'sees':>8}{'asked':>7}"]
    for row in rows:
        tpot = "–" if row.tpot_ms is None else f"{row.tpot_ms:.2f}"
        lines.append(
            f"{row.name:{width}}{row.ttft_ms_p50:>12.2f}{row.ttft_against_ours:>10.2f}{tpot:>12}"
            f"{human_bytes(row.peak_bytes):>12}{row.seen_tokens:>8}{row.questions:>7}"
        )
    encoding = rows[0].encoding_ms_per_frame
    lines.append(
        f"encoding a frame takes {encoding:.1f} ms more, where frames are kept as pictures: not in these figures"
    )
    return lines
