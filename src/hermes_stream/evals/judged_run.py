"""A saved result before two judges: how far they say the same."""

from __future__ import annotations

from dataclasses import replace

from hermes_stream.evals.judge import Judge
from hermes_stream.evals.judges.judging import Agreement, agreement, judge_all
from hermes_stream.evals.open_task import OpenTask
from hermes_stream.evals.saved_run import SavedRun


def agreement_on(run: SavedRun, first: Judge, second: Judge) -> Agreement | None:
    """Of all memories' answers that a judge decides of officially; None for a benchmark without open answers."""
    if not isinstance(run.task, OpenTask):
        return None
    cases = [
        replace(case, key=f"{entry.name}\0{case.key}")
        for entry in run.entries
        for case in run.task.cases(run.items, entry.replies, "official")
    ]
    return agreement(judge_all(first, cases).verdicts, judge_all(second, cases).verdicts)
