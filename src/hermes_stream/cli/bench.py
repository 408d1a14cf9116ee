"""`hermes-stream bench`: what things cost, measured here. One module per subcommand, `bench_NAME.py`."""

from __future__ import annotations

from cyclopts import App

from hermes_stream.cli.bench_memory import memory

bench = App(name="bench", help="Measure what things cost on this machine.")
for command in (memory,):
    bench.command(command)
