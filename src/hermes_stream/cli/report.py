"""`hermes-stream report`: tables and figures of results that benchmarks left behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from hermes_stream.cli.eval_options import split_list
from hermes_stream.cli.output import put_json, say
from hermes_stream.errors import ConfigError

if TYPE_CHECKING:
    from hermes_stream.evals.benchmark_tables import Table
    from hermes_stream.evals.judge import Judge
    from hermes_stream.evals.saved_run import SavedRun

Format = Literal["terminal", "markdown", "csv", "latex", "json"]
_KEPT = "judge.jsonl"
# Where nobody's window sets it: wide enough that no cell is cut.
_WIDTH = 240


def report(
    *results: Path,
    format: Format = "terminal",  # noqa: A002
    plot: Path | None = None,
    data: Path | None = None,
    judge: str | None = None,
) -> None:
    """Tables of results: accuracy with 95 % intervals, paired differences, forgetting, budgets, published values.

    Folders with the same benchmark, model and setting are joined: other parts, memories or budgets.

    Parameters
    ----------
    results
        Folders that hermes-stream eval BENCHMARK --out wrote; they may still be growing.
    format
        terminal, markdown, latex; csv: a line for each number; json: a line for each memory and reading.
    plot
        A PNG or PDF: accuracy against budget; beside it, where delays are known, NAME-forgetting.
    data
        The benchmark's folder, if it has moved.
    judge
        Of open answers: exact, fuzzy, or a model as in http://localhost:8000/v1#judge-7b. With a second one behind a
        comma, how far both agree is said. What a model says is kept in the first folder's judge.jsonl.
    """
    if not results:
        raise ConfigError("no result was given; name folders that hermes-stream eval BENCHMARK --out wrote")
    show_report(results, format, plot=plot, data=data, judge=judge)


def show_report(
    results: Sequence[Path],
    style: Format,
    *,
    plot: Path | None = None,
    data: Path | None = None,
    judge: str | None = None,
) -> None:
    """Tables to standard output, and what is not in them to standard error."""
    from hermes_stream.evals.judges import open_named_judge
    from hermes_stream.evals.saved_run import read_runs

    with ExitStack() as stack:
        names = [] if judge is None else split_list("--judge", judge)
        judges = [stack.enter_context(open_named_judge(name, results[0] / _KEPT)) for name in names]
        runs = read_runs(results, data, judges[0] if judges else None)
        of_runs = [_rows(run, judges) for run in runs]
    for run in runs:
        _say_coverage(run)
    _show(of_runs, style)
    if plot is not None:
        _plot(of_runs, plot)


def _rows(run: SavedRun, judges: Sequence[Judge]) -> list[dict[str, Any]]:
    """Of one result; what its judges could not do or agree on is said."""
    from hermes_stream.evals.benchmark_report import report_rows
    from hermes_stream.evals.judged_run import agreement_on

    rows = report_rows(run)
    for note in run.task.notes:
        say(f"note: {run.task.name} on {run.model}: {note}")
    for other in judges[1:]:
        if (agreed := agreement_on(run, judges[0], other)) is not None:
            say(f"note: {run.task.name} on {run.model}: the judges {agreed}")
    return rows


def _show(of_runs: Sequence[Sequence[dict[str, Any]]], style: Format) -> None:
    from hermes_stream.evals.benchmark_tables import as_csv, as_latex, as_markdown, tables_of

    rows = [row for of_run in of_runs for row in of_run]
    if style == "json":
        for row in rows:
            put_json(row)
        return
    if style == "csv":
        sys.stdout.write(as_csv(rows))
        return
    tables = [table for of_run in of_runs for table in tables_of(of_run)]
    if style == "terminal":
        _print(tables)
    else:
        sys.stdout.write(as_markdown(tables) if style == "markdown" else as_latex(tables))


def _print(tables: Sequence[Table]) -> None:
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    for table in tables:
        shown = RichTable(box=None, pad_edge=False)
        for index, name in enumerate(table.header):
            shown.add_column(escape(name), justify="left" if index < table.n_left else "right", overflow="fold")
        for line in table.rows:
            shown.add_row(*map(escape, line))
        # Not as the table's own title, which would be folded to its width.
        console.print(escape(table.title), style="italic")
        console.print(shown, "")


def _say_coverage(run: SavedRun) -> None:
    """What a reader of the table must know: what it does not hold."""
    where = f"{run.task.name} on {run.model}"
    n_left = run.n_items - run.n_missing - len(run.items)
    if run.n_missing:
        say(f"note: {where}: {run.n_missing} of {run.n_items} questions are about videos that are missing; not counted")
    if n_left:
        say(f"note: {where}: {n_left} of {run.n_items} questions are not answered by every memory yet; not counted")
    if run.unfinished:
        say(f"note: {where}: nothing yet from {', '.join(run.unfinished)}")


def _plot(of_runs: Sequence[Sequence[dict[str, Any]]], path: Path) -> None:
    from hermes_stream.evals.figure_rows import figure_rows
    from hermes_stream.viz.accuracy_figures import draw_by_budget, draw_forgetting

    rows = [row for of_run in of_runs for row in figure_rows(of_run)]
    draw_by_budget(rows, path)
    if any(row["recall_delay"] for row in rows):
        draw_forgetting(rows, path.with_stem(f"{path.stem}-forgetting"))
