"""The tables that `hermes-stream eval commentary` and `commentary-report` print for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Row = Mapping[str, Any]

_WIDTH = 160
_FIFTHS = (1, 2, 3, 4, 5)


def print_commentary_tables(rows: Sequence[Row]) -> None:
    """What each run shares with the transcripts, and how it fares before a judge, on standard output."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    judged = [row for row in rows if row.get("duel")]
    for title, table in (_overlap(rows), _fifths(rows), *((_duels(judged), _doubts(judged)) if judged else ())):
        console.print(escape(title), style="italic")
        console.print(table, "")


def _overlap(rows: Sequence[Row]) -> tuple[str, Table]:
    columns = ["past", "ROUGE-L", "BLEU", "segments", "not watched", "silent", "words/min", "transcript"]
    table = _table(columns)
    for row in rows:
        table.add_row(
            escape(row["run"]),
            row["past"] or "?",
            _share(row["rouge_l"]),
            _share(row["bleu"]),
            str(row["segments"]),
            str(row["n_uncovered"]),
            str(row["n_silent"]),
            _number(row["words_per_minute"]),
            _number(row["reference_words_per_minute"]),
        )
    return "words shared with the transcript, x 100 (95 % interval over segments)", table


def _fifths(rows: Sequence[Row]) -> tuple[str, Table]:
    table = _table([f"fifth {number}" for number in _FIFTHS])
    for row in rows:
        table.add_row(escape(row["run"]), *(_bare(row["rouge_l_by_fifth"].get(number)) for number in _FIFTHS))
    return "ROUGE-L x 100 by time since the first segment", table


def _duels(rows: Sequence[Row]) -> tuple[str, Table]:
    columns = ["wins, %", "as released", "won", "tied", "lost", *(f"fifth {number}" for number in _FIFTHS)]
    table = _table(columns)
    for row in rows:
        duel = row["duel"]
        table.add_row(
            escape(row["run"]),
            _share(duel["rate"]),
            "–" if duel["official"] is None else f"{100 * duel['official']:.1f}",
            *(str(duel[name]) for name in ("n_wins", "n_ties", "n_losses")),
            *(_bare(duel["by_fifth"].get(number)) for number in _FIFTHS),
        )
    first = rows[0]["duel"]
    judge = f"{first['judge']['model']} ({first['judge']['question']} question)"
    return (
        f"wins against {first['against']} before {judge}; a tie is half a win",
        table,
    )


def _doubts(rows: Sequence[Row]) -> tuple[str, Table]:
    table = _table(
        ["orders agree, %", "first one named, %", "same words", "unreadable", "not judged", "not both watched"]
    )
    for row in rows:
        duel = row["duel"]
        counts = (str(duel[name]) for name in ("n_same", "n_unreadable", "n_unjudged", "n_not_both"))
        table.add_row(escape(row["run"]), _percent(duel["order_agreement"]), _percent(duel["first_named"]), *counts)
    return "how far the judge can be trusted, and what it did not judge", table


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for name in columns:
        table.add_column(escape(name), justify="right")
    return table


def _share(cell: Row | None) -> str:
    """ "12.5 (11.1–13.6)"."""
    if cell is None or cell["low"] is None:
        return _bare(cell)
    return f"{100 * cell['mean']:.1f} ({100 * cell['low']:.1f}–{100 * cell['high']:.1f})"


def _bare(cell: Row | None) -> str:
    return "–" if cell is None else f"{100 * cell['mean']:.1f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
