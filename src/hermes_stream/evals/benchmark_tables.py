"""Rows as tables of text, and tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermes_stream.evals.published import differs_in, ours_beside, published_of
from hermes_stream.memory.budget import human_bytes

Row = Mapping[str, Any]

_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "–": "--"}
_CSV = ("bench", "model", "kind", "memory", "budget", "mode", "table", "column", "value", "low", "high", "n")


@dataclass(frozen=True)
class Table:
    """n_left: how many columns are words, and stand left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_left: int = 2


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """All tables of the rows of one benchmark on one model; without those that would be empty."""
    found = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        of_mode = [row for row in rows if row["mode"] == mode]
        memories = [row for row in of_mode if row["kind"] == "memory"]
        label = f"{rows[0]['bench']} on {rows[0]['model']}, read as {mode}"
        found += [
            _averages(of_mode, memories, label),
            _differences(memories, label),
            _tasks(memories, label),
            _by_delay(memories, label),
            _by_budget(memories, label),
            _published(memories, label),
        ]
    found += [_costs(rows), _by_clock(rows)]
    return [table for table in found if table.rows and len(table.header) > table.n_left]


def as_markdown(tables: Iterable[Table]) -> str:
    """Tables under their titles."""
    parts = []
    for table in tables:
        rule = ["---"] * table.n_left + ["---:"] * (len(table.header) - table.n_left)
        lines = [table.header, rule, *table.rows]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"**{table.title}**\n\n{body}\n")
    return "\n".join(parts)


def as_latex(tables: Iterable[Table]) -> str:
    """A `table` with a `tabular` of booktabs for each."""
    parts = []
    for table in tables:
        columns = "l" * table.n_left + "r" * (len(table.header) - table.n_left)
        body = "\n".join(" & ".join(map(_latex, line)) + r" \\" for line in table.rows)
        head = " & ".join(map(_latex, table.header))
        parts.append(
            f"\\begin{{table}}\n\\caption{{{_latex(table.title)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
            f"{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
        )
    return "\n".join(parts)


def as_csv(rows: Iterable[Row]) -> str:
    """One line for each number, whatever its table."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV)
    for row in rows:
        who = [row["bench"], row["model"], row["kind"], row["memory"], row.get("budget", ""), row["mode"]]
        for table, cells in _groups(row).items():
            for column, cell in cells.items():
                writer.writerow([*who, table, column, *(cell[name] for name in ("value", "low", "high", "n"))])
        for column, value in row["extras"].items():
            writer.writerow([*who, "extras", column, value, "", "", ""])
    return file.getvalue()


def _groups(row: Row) -> dict[str, Mapping[str, Row]]:
    above = row.get("difference") or {}
    return {
        "averages": row["averages"],
        "tasks": row["tasks"],
        "recall_delay": row.get("recall_delay", {}),
        "difference": above.get("averages", {}),
    }


def _averages(rows: Sequence[Row], memories: Sequence[Row], label: str) -> Table:
    """Baselines below the memories."""
    names = _names(rows, "averages")
    extras = list(dict.fromkeys(name for row in rows for name in row["extras"]))
    lines = [
        (*_who(row), *(_interval(row["averages"].get(name)) for name in names), *_extras(row, extras), *_unread(row))
        for row in rows
    ]
    n = memories[0]["n"] if memories else 0
    title = f"{label}: {n} questions, 95 % interval over {memories[0]['videos'] if memories else 0} videos"
    apart = {name for row in rows for name in row["apart"]}
    shown = (f"{name} (apart)" if name in apart else name for name in names)
    return Table(title, ("memory", "budget", *shown, *extras, "unread", "no reply"), tuple(lines))


def _differences(rows: Sequence[Row], label: str) -> Table:
    names = _names(rows, "averages")
    lines = [
        (*_who(row), *(_interval(row["difference"]["averages"].get(name), sign="+") for name in names))
        for row in rows
        if row["difference"] is not None
    ]
    first = rows[0]["memory"] if rows else ""
    return Table(
        f"{label}: above {first} at the same budget, of the same questions", ("memory", "budget", *names), tuple(lines)
    )


def _tasks(rows: Sequence[Row], label: str) -> Table:
    names = _names(rows, "tasks")
    lines = [(*_who(row), *(_value(row["tasks"].get(name)) for name in names)) for row in rows]
    counts = {name: row["tasks"][name]["n"] for row in rows for name in row["tasks"]}
    return Table(
        f"{label}: by task", ("memory", "budget", *(f"{name}, {counts[name]}" for name in names)), tuple(lines)
    )


def _by_delay(rows: Sequence[Row], label: str) -> Table:
    bins = {name: cell["n"] for row in rows for name, cell in row["recall_delay"].items()}
    lines = [(*_who(row), *(_value(row["recall_delay"].get(name)) for name in bins)) for row in rows if bins]
    header = ("memory", "budget", *(f"{name} s, {n}" for name, n in bins.items()))
    return Table(f"{label}: by seconds since the evidence left the screen", header, tuple(lines))


def _by_budget(rows: Sequence[Row], label: str) -> Table:
    """Of memories that ran at several budgets."""
    budgets = sorted({row["budget_tokens"] for row in rows if row["budget"] is not None})
    lines = []
    for memory in dict.fromkeys(row["memory"] for row in rows if row["budget"] is not None):
        at = {row["budget_tokens"]: row for row in rows if row["memory"] == memory}
        for name in _names(rows, "averages") if len(at) > 1 else ():
            cells = [_value(at[budget]["averages"].get(name)) if budget in at else "–" for budget in budgets]
            lines.append((memory, name, *cells))
    return Table(f"{label}: by budget, tokens per layer", ("memory", "number", *map(str, budgets)), tuple(lines))


def _published(rows: Sequence[Row], label: str) -> Table:
    """What others print of the same numbers; "=" where model, rate, budget and prompt are ours too."""
    lines = []
    shown = set(_names(rows, "averages")) | set(_names(rows, "tasks"))
    for value in published_of(rows[0]["bench"] if rows else ""):
        if value.average not in shown:
            continue
        ours = ours_beside(value, rows)
        cell = None if ours is None else ours["averages"].get(value.average) or ours["tasks"].get(value.average)
        differing = differs_in(value, ours or {**rows[0], "budget_tokens": value.budget_tokens})
        marks = "=" if not differing else "other " + ", ".join(differing)
        theirs = (value.average, value.method, value.model, f"{value.value:.2f}")
        lines.append((*theirs, _interval(cell), marks, value.source, value.caveat))
    header = ("number", "method", "model", "published", "ours", "settings", "source", "caveat")
    return Table(f"{label}: published beside ours", header, tuple(lines), n_left=3)


def _costs(rows: Sequence[Row]) -> Table:
    """Of each memory once."""
    lines = {}
    for row in rows:
        if row["kind"] == "memory" and (held := row["held"]) is not None:
            tokens = f"{sum(held['tokens']) / len(held['tokens']):.0f}"
            lines[_who(row)] = (
                *_who(row),
                tokens,
                *(human_bytes(held[name]) for name in ("memory_bytes", "archive_bytes")),
            )
    header = ("memory", "budget", "tokens held", "memory", "archive")
    return Table("the most that a question found", header, tuple(lines.values()))


def _by_clock(rows: Sequence[Row]) -> Table:
    """Of each memory once, where frames came by the clock."""
    lines = {}
    for row in rows:
        if row["kind"] == "memory" and (clock := row["by_clock"]) is not None:
            numbers = (clock["ttft_ms_p50"], clock["ttft_ms_p95"], clock["sustained_fps"], clock["lag_seconds"])
            dropped = f"{clock['n_dropped']} of {clock['n_offered']}"
            lines[_who(row)] = (*_who(row), *("–" if each is None else f"{each:.1f}" for each in numbers), dropped)
    header = ("memory", "budget", "first token, ms, p50", "p95", "highest frames/s", "lag, s", "frames dropped")
    return Table("by the clock", header, tuple(lines.values()))


def _names(rows: Sequence[Row], group: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row[group]))


def _who(row: Row) -> tuple[str, str]:
    budget = row.get("budget")
    if budget is None:
        budget = row.get("budget_tokens")
    return row["memory"] if row["kind"] == "memory" else f"({row['memory']})", "–" if budget is None else str(budget)


def _extras(row: Row, names: Sequence[str]) -> list[str]:
    return [f"{row['extras'][name]:.2f}" if name in row["extras"] else "–" for name in names]


def _unread(row: Row) -> tuple[str, str]:
    return ("–", "–") if row["kind"] != "memory" else (str(row["n_unparsed"]), str(row["n_unanswered"]))


def _value(cell: Row | None) -> str:
    return "–" if cell is None else f"{cell['value']:.1f}"


def _interval(cell: Row | None, sign: str = "") -> str:
    """ "97.5 (96.1 to 98.6)"."""
    if cell is None:
        return "–"
    shown = f"{cell['value']:{sign}.1f}"
    return shown if cell["low"] is None else f"{shown} ({cell['low']:{sign}.1f} to {cell['high']:{sign}.1f})"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
