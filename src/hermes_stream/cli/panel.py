"""What `watch` shows: a panel that stays in place on a terminal, or a line now and then."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from hermes_stream.cli.output import human_bytes, put_json, say
from hermes_stream.cli.status import (
    VISIBLE_LAG_SECONDS,
    Status,
    clock_text,
    held_groups,
    printable,
    status_line,
    transcript,
)

if TYPE_CHECKING:
    from hermes_stream.cli.conversation import Exchange

_MAX_WIDTH = 100
# What a frame and one column of air on either side take.
_FRAME_COLUMNS = 4
_FRAME_ROWS = 2
_BAR_COLUMNS = 28
_MAX_EXCHANGES = 4
_MAX_ANSWER_ROWS = 3
_TIME_COLUMNS = 9
_SECONDS_BETWEEN_LINES = 10.0
_HINT = "Enter asks · Ctrl-U clears · Ctrl-D leaves"
_STATE_STYLES = {"playing": "green", "live": "green", "stopped": "red"}


class View(Protocol):
    """Where people look."""

    def show(self, status: Status, exchanges: list[Exchange]) -> None:
        """Show how things are; takes exchanges away that need not be shown again."""

    def put_row(self, row: Mapping[str, object]) -> None:
        """One JSON object to standard output."""


class LineView:
    """Plain lines, for where nobody watches: answers when they are complete, the status every ten seconds."""

    def __init__(self, *, has_answers: bool) -> None:
        """has_answers: False where answers go to programs instead."""
        self._has_answers = has_answers
        self._next_seconds = time.monotonic() + _SECONDS_BETWEEN_LINES
        self._notice = ""

    def show(self, status: Status, exchanges: list[Exchange]) -> None:
        for exchange in [exchange for exchange in exchanges if exchange.is_done]:
            exchanges.remove(exchange)
            if self._has_answers or exchange.error:
                say(transcript(exchange))
        if status.notice != self._notice:
            self._notice = status.notice
            say(f"{status.notice}; what was seen can still be asked")
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + _SECONDS_BETWEEN_LINES
            say(status_line(status))

    def put_row(self, row: Mapping[str, object]) -> None:
        put_json(row)


class PanelView:
    """The panel, as a context manager; what no longer fits into it moves above it, into the terminal's history.

    When the block ends the panel goes, and what was asked stays in full.
    """

    def __init__(self, *, has_answers: bool) -> None:
        self._has_answers = has_answers
        self._exchanges: list[Exchange] = []
        self._console = Console(stderr=True, highlight=False)
        self._live = self._start()

    def show(self, status: Status, exchanges: list[Exchange]) -> None:
        self._exchanges = exchanges
        while len(exchanges) > _MAX_EXCHANGES and exchanges[0].is_done:
            self._retire(exchanges.pop(0))
        self._live.update(render(status, exchanges, self._console), refresh=True)

    def put_row(self, row: Mapping[str, object]) -> None:
        if sys.stdout.isatty():
            self._print(json.dumps(row, ensure_ascii=False))
        else:
            put_json(row)

    def pause(self, is_paused: bool) -> None:
        """Give the terminal to somebody else, or take it back."""
        if is_paused:
            self._live.stop()
        else:
            self._live = self._start()

    def __enter__(self) -> PanelView:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        for exchange in self._exchanges:
            self._retire(exchange)

    def _start(self) -> Live:
        """A new one each time: an old one would go on where it stood, over what was written since."""
        # Standard output is not redirected: it may be a file of JSON, and Live would send it to this console.
        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        live.start()
        return live

    def _retire(self, exchange: Exchange) -> None:
        if self._has_answers or exchange.error:
            self._print(transcript(exchange))

    def _print(self, text: str) -> None:
        # soft_wrap: the terminal breaks long lines, so that they are copied as one.
        self._console.print(Text(text), soft_wrap=True)


def can_show_panel() -> bool:
    """Whether standard error is a terminal on which the cursor can be moved."""
    return sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal


def render(status: Status, exchanges: Sequence[Exchange], console: Console) -> RenderableType:
    """The panel for a terminal of this size; no taller than that, and at most 100 columns wide."""
    width, height = console.size
    columns = max(20, min(width, _MAX_WIDTH) - _FRAME_COLUMNS)
    head = [*_facts(status), Text(), *_groups(status)]
    tail = _notice(status, columns, console) + ([] if status.typed is None else [_prompt(status.typed, columns)])
    room = height - 1 - _FRAME_ROWS - len(head) - len(tail)
    if room < 0:
        head = [line for line in head if line.plain][: max(0, len(head) + room)]
    middle = _conversation(exchanges, room - 2, columns, console)
    rows = head + ([Text(), *middle] if middle else []) + ([Text()] if tail and room > 0 else []) + tail
    style = _STATE_STYLES.get(status.state, "dim")
    return Panel(
        Group(*(_fitted(row, columns) for row in rows)),
        title=Text.assemble("hermes-stream watch ", ("● ", style), status.state),
        title_align="left",
        subtitle=None if status.typed is None else Text(_HINT, style="dim"),
        subtitle_align="left",
        border_style="dim",
        width=columns + _FRAME_COLUMNS,
    )


def _facts(status: Status) -> list[Text]:
    """The name of the source and nine numbers, in columns that stay where they are."""
    stats = status.stats
    lag_style = "yellow" if status.lag_seconds > VISIBLE_LAG_SECONDS else "bold"
    ttft = "–" if status.ttft_seconds is None else f"{status.ttft_seconds * 1000:.0f} ms"
    table = [
        [("time", status.clock), ("frames seen", str(stats.frames_seen)), ("fps", _number(status.fps))],
        [("lag", f"{status.lag_seconds:.1f} s"), ("dropped", str(status.n_dropped)), ("first token", ttft)],
        [
            ("memory", human_bytes(stats.memory_bytes)),
            ("compressions", str(stats.n_compressions)),
            ("questions", str(status.n_questions)),
        ],
    ]
    rows = [Text(printable(status.source), style="bold"), Text()]
    for cells in table:
        row = Text()
        for (label, value), label_width, value_width in zip(cells, (8, 14, 13), (19, 11, 10), strict=True):
            row.append(label.ljust(label_width), style="dim")
            row.append(value.ljust(value_width), style=lag_style if label == "lag" else "bold")
        rows.append(row)
    return rows


def _groups(status: Status) -> list[Text]:
    """Tokens held by the layers of each group; the bar is full at the budget and the frames of one interval."""
    groups = held_groups(status)
    name_width = max(len(group.name) for group in groups)
    number_width = max(len(group.shown) for group in groups)
    rows = []
    for group in groups:
        row = Text(f"{group.name.ljust(name_width)}  ")
        row.append(group.places.ljust(14), style="dim")
        if status.budget_tokens:
            row.append_text(_bar(group.most, status.budget_tokens, status.budget_tokens + status.interval_tokens))
        row.append(group.shown.rjust(number_width), style="bold")
        row.append(f" held, budget {status.budget_tokens}" if status.budget_tokens else " tokens a layer", style="dim")
        rows.append(row)
    return rows


def _bar(n_held: int, n_budget: int, n_most: int) -> Text:
    """What a compression would leave, what it would take away, and the room to the most that is ever held."""
    n_full, n_budget_columns = (min(_BAR_COLUMNS, round(n / n_most * _BAR_COLUMNS)) for n in (n_held, n_budget))
    bar = Text("━" * min(n_full, n_budget_columns), style="cyan")
    bar.append("━" * (n_full - n_budget_columns), style="blue")
    return bar.append("━" * (_BAR_COLUMNS - n_full) + "  ", style="bright_black")


def _conversation(exchanges: Sequence[Exchange], n_rows: int, columns: int, console: Console) -> list[Text]:
    """The newest questions that fit."""
    shown: list[Text] = []
    for exchange in reversed(exchanges[-_MAX_EXCHANGES:]):
        rows = _exchange_rows(exchange, columns, console)
        if len(rows) + len(shown) > n_rows:
            break
        shown = rows + shown
    return shown


def _exchange_rows(exchange: Exchange, columns: int, console: Console) -> list[Text]:
    question = Text(clock_text(exchange.time_seconds).rjust(_TIME_COLUMNS - 2) + "  ", style="dim")
    question.append(printable(exchange.question), style="bold not dim")
    if exchange.error:
        reply = Text(printable(f"no answer: {exchange.error}"), style="red")
    else:
        reply = Text(printable(exchange.text) + ("" if exchange.is_done else "▌"))
    lines = list(reply.wrap(console, columns - _TIME_COLUMNS))
    if len(lines) > _MAX_ANSWER_ROWS:
        lines = lines[:_MAX_ANSWER_ROWS] if exchange.is_done else lines[-_MAX_ANSWER_ROWS:]
        if exchange.is_done:
            lines[-1].truncate(columns - _TIME_COLUMNS - 1)
            lines[-1].append("…")
    return [question, *(Text(" " * _TIME_COLUMNS) + line for line in lines)]


def _notice(status: Status, columns: int, console: Console) -> list[Text]:
    if not status.notice:
        return []
    return list(Text(printable(status.notice), style="red").wrap(console, columns))[:2]


def _prompt(typed: str, columns: int) -> Text:
    """The end of the line that is being typed, with a cursor behind it."""
    shown = Text(typed)
    while shown.cell_len > columns - 3:
        shown = shown[1:]
    return Text("› ", style="cyan") + shown.append(" ", style="reverse")


def _fitted(row: Text, columns: int) -> Text:
    """One row, never two."""
    row.truncate(columns, overflow="ellipsis")
    row.no_wrap = True
    return row


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
