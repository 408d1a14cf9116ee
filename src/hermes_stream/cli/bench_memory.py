"""`hermes-stream bench memory`: what a memory policy costs beside the encoding of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hermes_stream.cli.bench_options import BenchOptions, begin, check_counts
from hermes_stream.cli.output import put_json
from hermes_stream.defaults import DEFAULT_MEMORY

if TYPE_CHECKING:
    from hermes_stream.bench.cost import MemoryCost


def memory(
    *,
    memory: str = DEFAULT_MEMORY,
    frames: int = 16,
    budget: str = "4096",
    intervals: int = 3,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[BenchOptions | None, Parameter(name="*")] = None,
) -> None:
    """Count and time what a memory policy adds to an interval whose frames are encoded anyway.

    Fills a memory first; the parts of an interval then run one by one: encoding its frames (vision tower, text model),
    guidance prompts, scoring, eviction, and placing keys anew.

    Parameters
    ----------
    memory
        A policy that evicts rows, with options.
    frames
        Of an interval.
    budget
        Tokens per layer.
    intervals
        How many are measured; the medians are shown.
    json
        Print one JSON object.
    """
    from hermes_stream.bench.cost_measure import measure_cost
    from hermes_stream.bench.pictures import pictures
    from hermes_stream.policies.spec import parse_memory

    check_counts(frames=frames, intervals=intervals)
    policy = parse_memory(memory, budget, bytes_per_token=1)
    run = begin(options or BenchOptions())
    with run.profiled():
        cost = measure_cost(run.adapter, policy, pictures(frames), chunk_frames=frames, n_intervals=intervals)
    if json:
        settings = {"memory": memory, "frames": frames, "budget": policy.budget_tokens}
        put_json({**settings, **cost.as_row(), **run.model, "machine": run.machine.as_row()})
    else:
        print("\n".join(report_lines(cost)))


def report_lines(cost: MemoryCost) -> list[str]:
    """A table of the parts, and what they come to."""
    from hermes_stream.bench.cost import EXTRA, OWN, PLAIN
    from hermes_stream.stages import PLACE, PROBE

    first = cost.intervals[0]
    notes = {
        PROBE: f" ({' + '.join(map(str, first.prompt_tokens)) or 'no'} tokens)",
        PLACE: f" (1 interval in {first.intervals_per_placement})",
    }
    lines = [
        f"an interval of {first.n_tokens} tokens on a full memory, median of {len(cost.intervals)}",
        _line("", "GFLOP", "share", "seconds", "share"),
    ]
    for part in OWN + EXTRA:
        lines.append(_row(part + notes.get(part, ""), cost.flops(part), cost.seconds(part), cost))
        if part == OWN[-1]:
            lines.append(_row("= encoding the frames", cost.own_flops, cost.own_seconds, cost))
    lines += [
        _row("= what the policy adds", cost.extra_flops, cost.extra_seconds, cost),
        f"the text model with the prompts in its forward: {cost.packed_share:+.1%} (noise included)",
        f"the interval against the same one under {PLAIN}: {cost.against_plain:+.1%}",
        f"three extra passes as in HERMES' released code: {first.released_flops / cost.own_flops:.2%} of the "
        f"operations with its shortcut, {first.released_passes_flops / cost.own_flops:.2%} as true forwards, "
        f"{3 * cost.pass_bytes / 1e9:.1f} GB of weights read again",
    ]
    return lines


def _row(name: str, flops: float, seconds: float, cost: MemoryCost) -> str:
    shares = f"{flops / cost.own_flops:.2%}", f"{seconds / cost.own_seconds:.2%}"
    return _line(name, f"{flops / 1e9:,.3f}", shares[0], f"{seconds:.4f}", shares[1])


def _line(name: str, flops: str, flops_share: str, seconds: str, seconds_share: str) -> str:
    return f"{name:36}{flops:>14}{flops_share:>10}{seconds:>12}{seconds_share:>10}"
