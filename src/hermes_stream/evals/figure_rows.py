"""Rows of a report as the figures of `viz` take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hermes_stream.evals.estimates import Cell

Row = dict[str, Any]


def figure_rows(rows: Sequence[Row]) -> list[Row]:
    """The memories in the strictest reading there is; each of the benchmark's numbers is a panel."""
    modes = {row["mode"] for row in rows}
    mode = next(mode for mode in ("strict", "official", "logits") if mode in modes)
    return [_row(row) for row in rows if row["kind"] == "memory" and row["mode"] == mode]


def _row(row: Row) -> Row:
    return {
        "policy": row["memory"],
        "model": f"{row['bench']}, {row['model']}",
        "budget": row["budget"],
        # A policy with frames of its own is a level, as one without bounds is.
        "budget_tokens": row["budget_tokens"] if row["budget"] is not None else None,
        "regime": {name: _share(cell) for name, cell in row["averages"].items()},
        "recall_delay": {name: _share(cell) | _bounds(name) for name, cell in row["recall_delay"].items()},
    }


def _share(cell: Cell) -> Row:
    low, high = (None if bound is None else bound / 100 for bound in (cell["low"], cell["high"]))
    return {"accuracy": cell["value"] / 100, "low": low, "high": high, "n": cell["n"]}


def _bounds(name: str) -> Row:
    low, _, high = name.partition("-")
    return {"from_s": float(low), "to_s": float(high or 0)}
