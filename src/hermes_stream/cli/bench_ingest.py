"""`hermes-stream bench ingest`: how fast frames become memory, and what takes the time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, begin, check_counts, parse_memories
from hermes_stream.cli.output import each_note_once
from hermes_stream.defaults import DEFAULT_MEMORY
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.bench.ingest import IngestRow


def ingest(
    *,
    memory: str = DEFAULT_MEMORY,
    frames: int = 64,
    chunk: int | None = None,
    budget: str | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Frames per second from an H.264 file into a full memory, and each stage's share of the time.

    Parameters
    ----------
    memory
        Policies with options, separated by commas.
    frames
        How many are timed, once the memory is full; whole intervals.
    chunk
        Frames of a compression interval. Default: what suits the model.
    budget
        Tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    out
        A folder for ingest.json.
    json
        Print one JSON object per policy.
    """
    from hermes_stream.bench.ingest import measure_ingest, write_clip

    check_counts(frames=frames, chunk=1 if chunk is None else chunk)
    memories = parse_memories(memory, budget)
    run = begin(options or BenchOptions())
    chunk = chunk or run.adapter.defaults.chunk_frames
    if frames % chunk:
        raise ConfigError(f"--frames {frames} are no whole intervals of {chunk}; give a multiple")
    with TemporaryDirectory() as folder, each_note_once():
        video = write_clip(Path(folder))
        with run.profiled():
            rows = [
                measure_ingest(run.adapter, text, video, budget=budget, chunk=chunk, n_frames=frames)
                for text in memories
            ]
    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows)))
    if out is not None:
        run.save(out, "ingest", rows)


def _table(rows: Sequence[IngestRow]) -> list[str]:
    """A column per memory."""
    width = max(12, *(len(row.policy) + 2 for row in rows))

    def line(name: str, cells: Sequence[str]) -> str:
        return f"{name:20}" + "".join(f"{cell:>{width}}" for cell in cells)

    return [
        line("", [row.policy for row in rows]),
        line("frames per second", [f"{row.frames_per_second:.2f}" for row in rows]),
        line("tokens per second", [f"{row.tokens_per_second:.0f}" for row in rows]),
        *(line(name, [f"{row.share[name]:.2%}" for row in rows]) for name in rows[0].share),
        line("what policies add", [f"{row.policy_share:.2%}" for row in rows]),
    ]
