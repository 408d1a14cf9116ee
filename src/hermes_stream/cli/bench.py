"""`hermes-stream bench`: what things cost, measured here. One module per subcommand, `bench_NAME.py`."""

from __future__ import annotations

from cyclopts import App

from hermes_stream.cli.bench_floor import floor
from hermes_stream.cli.bench_ingest import ingest
from hermes_stream.cli.bench_latency import latency
from hermes_stream.cli.bench_memory import memory
from hermes_stream.cli.bench_narrate import narrate
from hermes_stream.cli.bench_peers import peers
from hermes_stream.cli.bench_streams import streams

bench = App(name="bench", help="Measure what things cost on this machine.")
for command in (
    floor,
    ingest,
    latency,
    memory,
    narrate,
    peers,
    streams,
):
    bench.command(command)
