"""What `hermes-stream eval` shows while it runs, prints at its end and writes into a folder."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_stream.cli.output import put_json, say
from hermes_stream.errors import HermesError

if TYPE_CHECKING:
    from rich.progress import Progress

    from hermes_stream.evals.answer_log import AnswerLog
    from hermes_stream.evals.episodes import Episode
    from hermes_stream.evals.lineup import Lineup
    from hermes_stream.evals.run import Record

_Row = dict[str, Any]


class RunListener:
    """Moves the progress bar, says who failed and writes the log."""

    def __init__(self, progress: Progress, n_questions: int, log: AnswerLog | None) -> None:
        self._progress = progress
        self._task = progress.add_task("asking", total=n_questions, note="")
        self._n_questions = n_questions
        self._n_answered = 0
        self._log = log

    def answered(self) -> None:
        self._n_answered += 1
        note = f"{self._n_answered}/{self._n_questions}"
        self._progress.update(self._task, completed=self._n_answered, note=note)

    def failed(self, lineup: Lineup, record: Record, episode: Episode) -> None:
        error = " ".join((record.error or "").split())
        say(f"error: {record.entry} failed on {lineup.model}, seed {episode.seed}, and is out: {error}")

    def watched(self, lineup: Lineup, records: Sequence[Record], episode: Episode, index: int) -> None:
        if self._log is not None:
            self._log.end_episode(lineup, records, episode.seed, index)


def put_rows(rows: Sequence[_Row], *, json: bool, out: Path | None) -> None:
    """JSON lines or tables to standard output, files and figures into `out`. Raises HermesError if all failed."""
    from hermes_stream.cli.eval_tables import print_tables

    if json:
        for row in rows:
            put_json(row)
    else:
        print_tables(rows)
    good = [row for row in rows if "error" not in row]
    if not good:
        raise HermesError("no memory came to the end, so there is nothing to compare")
    if out is not None:
        _write(rows, good, out)


def _write(rows: Sequence[_Row], good: Sequence[_Row], out: Path) -> None:
    """Figures are of the memories that came to the end."""
    from hermes_stream.evals.report import HEADLINE_SHARE
    from hermes_stream.viz.accuracy_figures import draw_by_budget, draw_by_bytes, draw_by_share, draw_forgetting

    out.mkdir(parents=True, exist_ok=True)
    lines = [json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    draw_by_budget(good, out / "budget.png")
    draw_forgetting(good, out / "forgetting.png")
    draw_by_bytes(good, out / "bytes.png")
    draw_by_share(good, out / "share.png", HEADLINE_SHARE)
    say(f"{out}: results.jsonl; budget.png, forgetting.png, bytes.png, share.png")
