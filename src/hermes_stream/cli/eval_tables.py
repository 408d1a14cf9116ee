"""The tables that `hermes-stream eval` prints for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hermes_stream.cli.output import human_bytes

Row = Mapping[str, Any]

# Where nobody's window sets it: wide enough that no cell is cut.
_WIDTH = 160


def print_tables(rows: Sequence[Row]) -> None:
    """Accuracy, differences, forgetting and cost of each model's memories, on standard output."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    for model in dict.fromkeys(row["model"] for row in rows):
        failed = [row for row in rows if row["model"] == model and "error" in row]
        mine = [row for row in rows if row["model"] == model and "error" not in row]
        tables = (_accuracy(mine), _differences(mine), _forgetting(mine), _costs(mine)) if mine else ()
        for title, table in (*tables, _failures(failed)):
            if table.row_count:
                # Not as the table's own title, which would be folded to its width.
                console.print(escape(title), style="italic")
                console.print(table, "")


def _accuracy(rows: Sequence[Row]) -> tuple[str, Table]:
    regimes = rows[0]["regime"]
    n_episodes = rows[0]["episodes"]
    interval = f"95 % interval over {n_episodes} episodes" if n_episodes > 1 else "one episode, so no interval"
    names = [f"{name}, {cell['n']}" for name, cell in regimes.items()]
    table = _table([f"all, {rows[0]['n']}", *names])
    for row in rows:
        table.add_row(*_name(row), _share(row), *(_share(row["regime"][name]) for name in regimes))
    return f"{rows[0]['model']}: right, % ({interval})", table


def _differences(rows: Sequence[Row]) -> tuple[str, Table]:
    """Rows that have something to be compared with."""
    regimes = rows[0]["regime"]
    table = _table(["all", *regimes])
    for row in rows:
        if (more := row["difference"]) is not None:
            table.add_row(*_name(row), _difference(more), *(_difference(more["regime"][name]) for name in regimes))
    return f"points above {rows[0]['policy']} at the same budget, of the same questions", table


def _forgetting(rows: Sequence[Row]) -> tuple[str, Table]:
    bins = {name: cell for row in rows for name, cell in row["recall_delay"].items()}
    table = _table([f"{n} s, {bins[n]['n']}" for n in bins])
    for row in rows:
        table.add_row(*_name(row), *(f"{100 * row['recall_delay'][name]['accuracy']:.1f}" for name in bins))
    return "right, %, by seconds since the evidence left the screen", table


def _costs(rows: Sequence[Row]) -> tuple[str, Table]:
    columns = [
        "tokens held",
        "% of 64 frames",
        "bytes",
        "archive",
        "newest tenth",
        "ms a frame, alone",
        "ms to 1st token, alone",
    ]
    table = _table(columns)
    for row in rows:
        table.add_row(
            *_name(row),
            f"{row['held_tokens']:g}",
            f"{100 * row['share_of_64_frames']:.0f}",
            human_bytes(row["bytes"]),
            human_bytes(row["archive_bytes"]),
            f"{100 * row['kept_by_age_tenths_newest_first'][0]:.0f} %",
            f"{row['ingest_ms_per_frame']:.1f}",
            f"{row['ttft_ms']:.1f}",
        )
    return "what it takes", table


def _failures(rows: Sequence[Row]) -> tuple[str, Table]:
    table = _table(["why"])
    for row in rows:
        table.add_row(*_name(row), escape(row["error"]))
    return "fell out, and is in no table", table


def _table(columns: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("memory", overflow="fold")
    for name in ("budget", *columns):
        table.add_column(escape(name), justify="right")
    return table


def _name(row: Row) -> tuple[str, str]:
    budget = row["budget_tokens"] if row["budget"] is None else row["budget"]
    return escape(row["policy"]), "–" if budget is None else str(budget)


def _share(cell: Row) -> str:
    """ "97.5 (96.1–98.6)"."""
    shown = f"{100 * cell['accuracy']:.1f}"
    return shown if cell["low"] is None else f"{shown} ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"


def _difference(cell: Row) -> str:
    """ "-1.2 (-3.0 to +0.5)"."""
    shown = f"{100 * cell['accuracy']:+.1f}"
    return shown if cell["low"] is None else f"{shown} ({100 * cell['low']:+.1f} to {100 * cell['high']:+.1f})"
