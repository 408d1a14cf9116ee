"""`hermes-stream bench narrate`: whether a commentary keeps up, and what each step takes as it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, begin, check_counts, parse_memories
from hermes_stream.cli.output import each_note_once, human_bytes
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.bench.narrate import NarrateRow


def narrate(
    *,
    memory: str = "streaming-vlm,keep-all,sliding-window,recent-frames(frames=16)",
    budget: str | None = None,
    steps: int = 60,
    fps: int = 2,
    tokens: int = 8,
    live: int = 0,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Time and memory of a commentary, second by second: its first tenth against its last, memory against memory.

    keep-all is full attention; recent-frames runs its window again for every second, as it was encoded.

    Parameters
    ----------
    memory
        Policies with options, separated by commas.
    budget
        Tokens per layer, or bytes as in 16MiB. Default: what suits the model.
    steps
        Seconds of video; a memory without bound ends earlier, where the model's positions do.
    fps
        Frames of a second.
    tokens
        Of the words about every second, exactly.
    live
        Seconds of a live source to follow after that, in real time.
    out
        A folder for narrate.json.
    json
        Print one JSON object per memory.
    """
    from hermes_stream.bench.narrate import NarrateLoad, measure_narration

    check_counts(steps=steps, fps=fps, tokens=tokens)
    if live < 0:
        raise ConfigError(f"--live is {live}; give seconds, or 0 for none")
    memories = parse_memories(memory, budget)
    run, load = begin(options or BenchOptions()), NarrateLoad(steps=steps, fps=fps, tokens=tokens, live_seconds=live)
    with each_note_once(), run.profiled():
        rows = [measure_narration(run.adapter, text, load, budget=budget) for text in memories]
    if json:
        run.put_json(rows)
    else:
        print("\n".join(_table(rows, has_live=live > 0)))
    if out is not None:
        run.save(out, "narrate", rows, fps=fps, tokens=tokens, live=live, budget=budget)


def _table(rows: Sequence[NarrateRow], *, has_live: bool) -> list[str]:
    """A column per memory."""
    width = max(18, *(len(row.memory) + 2 for row in rows))

    def line(name: str, cells: Sequence[str]) -> str:
        return f"{name:34}" + "".join(f"{cell:>{width}}" for cell in cells)

    lines = [
        line("", [row.memory for row in rows]),
        line("seconds narrated", [f"{row.steps}{'' if not row.ended else ' (limit)'}" for row in rows]),
        line("ms per second, first and last", [f"{row.step_ms_first:.0f} {row.step_ms_last:.0f}" for row in rows]),
        line("of the processor", [f"{row.cpu_ms_first:.0f} {row.cpu_ms_last:.0f}" for row in rows]),
        line("ms per token, first and last", [f"{row.token_ms_first:.1f} {row.token_ms_last:.1f}" for row in rows]),
        line("ms per token, decoding alone", [f"{row.decode_ms:.1f}" for row in rows]),
        line(
            "tokens/s, available and needed", [_pair(row.available_per_second, row.needed_per_second) for row in rows]
        ),
        line("frames per second, sustained", [f"{row.sustained_fps:.2f}" for row in rows]),
        line("seconds behind per second", [f"{row.lag_per_second:.2f}" for row in rows]),
        line("rows held, first and last", [f"{row.held_first} {row.held_last}" for row in rows]),
        line("memory, last", [human_bytes(row.memory_bytes_last) for row in rows]),
    ]
    if has_live:
        lines += [
            line("live: spoken and silent", [f"{row.live_spoken} {row.live_silent}" for row in rows]),
            line("live: frames dropped", [str(row.live_frames_dropped) for row in rows]),
            line("live: most seconds behind", [f"{row.live_lag_seconds:.2f}" for row in rows]),
        ]
    return lines


def _pair(one: float, other: float) -> str:
    return f"{one:.1f} {other:.1f}"
