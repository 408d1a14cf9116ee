"""`hermes-stream eval NAME`: the field's benchmarks, and the list of them."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from hermes_stream.cli.output import put_json
from hermes_stream.errors import ConfigError


def benchmark(
    *,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Name the benchmarks.

    Parameters
    ----------
    list_
        Which there are, and what their data folders must hold.
    json
        Print one JSON object per line.
    """
    if not list_:
        raise ConfigError("no benchmark was named; see hermes-stream eval --list")
    _list(json=json)


def _list(*, json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from hermes_stream.evals.tasks import TASKS

    rows = [task.describe() for _, task in sorted(TASKS.items())]
    if json:
        for row in rows:
            put_json(row)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "splits", "metric", "data"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["name"], ", ".join(row["splits"]), row["metric"], row["data"])
    Console(file=sys.stdout).print(table)
