"""A benchmark's table with its command, commit and machine: runs `hermes-stream eval`, then writes the report's rows.

    python benchmarks/benchmark_table.py NAME --out FOLDER shapestream --memory hermes,uniform --budget 64

Everything behind `--out FOLDER` is what `hermes-stream eval benchmark` takes. A run that was ended goes on.
Writes benchmarks/results/NAME.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import record

from hermes_stream.cli.main import run
from hermes_stream.evals.benchmark_report import report_rows
from hermes_stream.evals.manifest import read_manifests
from hermes_stream.evals.saved_run import read_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, required=True)
    arguments, words = parser.parse_known_args()
    if status := run(["eval", "benchmark", *words, "--out", str(arguments.out)]):
        sys.exit(status)
    rows = [row for saved in read_runs([arguments.out]) for row in report_rows(saved)]
    (manifest, *_) = read_manifests(arguments.out)
    # Where the replies lay says nothing to others.
    sys.argv = [arguments.out.name if word == str(arguments.out) else word for word in sys.argv]
    shown = {name: manifest[name] for name in ("bench", "model", "video", "setting", "prompt", "wall_clock", "runs")}
    print(record.save(arguments.name, shown, rows))


if __name__ == "__main__":
    main()
