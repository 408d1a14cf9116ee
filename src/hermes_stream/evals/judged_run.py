"""A saved result before a judge: all its answers at once, so that what the judge says is known when they are scored."""

from __future__ import annotations

from hermes_stream.errors import TaskError
from hermes_stream.evals.judge import Judge
from hermes_stream.evals.judges.judging import Agreement, Case, Judged, agreement, judge_all
from hermes_stream.evals.saved_run import SavedRun


def judge_run(run: SavedRun, judge: Judge) -> Judged:
    """Ask about every answer; what the judge keeps is not asked again.

    Raises TaskError where it cannot be asked, and says how far it came: a second start goes on there.
    """
    cases = _cases(run)
    judged = judge_all(judge, cases)
    if judged.error is not None:
        n_left = len(judged.not_judged)
        raise TaskError(f"{n_left} of {len(cases)} answers are not judged, the others are kept: {judged.error}")
    return judged


def agreement_on(run: SavedRun, judged: Judged, other: Judge) -> Agreement:
    """How far another judge says the same of the same answers. Raises TaskError where it cannot be asked."""
    return agreement(judged.verdicts, judge_run(run, other).verdicts)


def _cases(run: SavedRun) -> list[Case]:
    """Of all memories; as tasks put them."""
    return [
        Case(f"{entry.name}\0{ask.key}", item.question, item.truth, reply.text.replace("\n", ""))
        for entry in run.entries
        for item in run.items
        for ask in run.task.polls(item)
        if (reply := entry.replies[ask.key]).text.strip()
    ]
