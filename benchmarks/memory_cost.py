"""What a memory policy adds to the encoding of frames, counted and timed on a model of real shape.

    python benchmarks/memory_cost.py --intervals 2

The same as `hermes-stream bench memory`, with the result written to benchmarks/results/NAME.json. Weights are random:
neither operations nor time depend on their values.
"""

from __future__ import annotations

import argparse

import record

from hermes_stream.bench.cost_measure import measure_cost
from hermes_stream.bench.pictures import pictures
from hermes_stream.cli.bench_memory import report_lines
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:llava-onevision-0.5b")
    parser.add_argument("--memory", default="hermes")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--budget", type=int, default=4096)
    parser.add_argument("--intervals", type=int, default=3)
    parser.add_argument("--name", default="memory-cost")
    arguments = parser.parse_args()

    adapter = load_adapter(arguments.model)
    policy = parse_memory(arguments.memory, arguments.budget, bytes_per_token=1)
    cost = measure_cost(
        adapter, policy, pictures(arguments.frames), chunk_frames=arguments.frames, n_intervals=arguments.intervals
    )
    print("\n".join(report_lines(cost)))
    row = {"dtype": str(adapter.facts.dtype), "device": str(adapter.facts.device), **cost.as_row()}
    print(record.save(arguments.name, vars(arguments), [row]))


if __name__ == "__main__":
    main()
