"""The tables that `hermes-stream eval alerts` prints for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Row = Mapping[str, Any]

_WIDTH = 160


def print_alert_tables(rows: Sequence[Row]) -> None:
    """What each model's memories told, and how precision and recall go with the threshold, on standard output."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        good = [row for row in mine if "error" not in row]
        for title, table in (*((_told(good), _curves(good)) if good else ()), _failures(mine)):
            if table.row_count:
                console.print(escape(title), style="italic")
                console.print(table, "")


def _told(rows: Sequence[Row]) -> tuple[str, Table]:
    columns = [
        "precision, %",
        "recall, %",
        "false an hour",
        "false",
        "of them alike",
        "repeated",
        "delay, s: median",
        "p90",
    ]
    table = _table(["task", *columns])
    for row in rows:
        delay = row["delay_s"]
        table.add_row(
            *_name(row),
            row["task"],
            _share(row["precision"]),
            _share(row["recall"]),
            f"{row['false_per_hour']:g}",
            str(row["n_false"]),
            str(row["n_false_alike"]),
            str(row["n_repeated"]),
            _number(delay["median"]),
            _number(delay["p90"]),
        )
    first = rows[0]
    title = (
        f"{first['model']}: a look every {first['look_s']:g} s; {first['questions']} standing questions of each task, "
        f"{first['hours']:g} hours together"
    )
    return title, table


def _curves(rows: Sequence[Row]) -> tuple[str, Table]:
    table = _table(["task", *(f"{point['threshold']:g}" for point in rows[0]["curve"])])
    for row in rows:
        cells = [f"{_percent(point['precision'])} / {_percent(point['recall'])}" for point in row["curve"]]
        table.add_row(*_name(row), row["task"], *cells)
    return "precision / recall, %, by threshold", table


def _failures(rows: Sequence[Row]) -> tuple[str, Table]:
    table = _table(["why"])
    for row in rows:
        if "error" in row:
            table.add_row(*_name(row), escape(row["error"]))
    return "fell out, and is in no table", table


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("memory", overflow="fold")
    for name in ("budget", *columns):
        table.add_column(escape(name), justify="right")
    return table


def _name(row: Row) -> tuple[str, str]:
    budget = row["budget_tokens"] if row["budget"] is None else row["budget"]
    return escape(row["policy"]), "–" if budget is None else str(budget)


def _share(cell: Row | None) -> str:
    """ "97.5 (96.1–98.6) of 80"."""
    if cell is None:
        return "–"
    interval = "" if cell["low"] is None else f" ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"
    return f"{100 * cell['accuracy']:.1f}{interval} of {cell['n']}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
