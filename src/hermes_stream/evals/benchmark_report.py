"""From saved replies to rows: every memory in every reading, its differences from the first, and the baselines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from hermes_stream.evals.estimates import Cell, Estimator, by_delay, differences, sorted_delays, task_names
from hermes_stream.evals.saved_run import SavedEntry, SavedRun
from hermes_stream.evals.scores import Mark, Mode, Scores

Row = dict[str, Any]


def report_rows(run: SavedRun) -> list[Row]:
    """One row per memory, budget and reading; then one per baseline and reading (`kind` is "memory" or "baseline").

    Differences are paired, question by question, with the first memory at the same budget.
    """
    estimator = Estimator(item.video for item in run.items)
    rows = []
    for mode in run.modes:
        scores = [run.task.score(run.items, entry.replies, mode) for entry in run.entries]
        for entry, of_entry in zip(run.entries, scores, strict=True):
            reference = _reference(run.entries, entry)
            below = None if reference is None else scores[reference]
            rows.append(
                _row(run, estimator, entry, mode, of_entry) | _compared(estimator, of_entry, below, run, reference)
            )
        for name, of_baseline in run.task.baselines(run.items, mode).items():
            rows.append(_who(run, mode) | {"kind": "baseline", "memory": name} | _numbers(estimator, of_baseline))
    return rows


def _who(run: SavedRun, mode: Mode) -> Row:
    return {
        "bench": run.task.name,
        "model": run.model,
        "mode": mode,
        "protocol": run.manifest["setting"]["protocol"],
        "prompt": run.manifest["prompt"]["label"],
        "fps": run.manifest["video"]["fps"],
        "judge": None if run.task.judge is None or not run.task.is_judged else run.task.judge.manifest,
    }


def _row(run: SavedRun, estimator: Estimator, entry: SavedEntry, mode: Mode, scores: Scores) -> Row:
    return {
        **_who(run, mode),
        "kind": "memory",
        "memory": entry.settings["memory"],
        "budget": entry.settings["budget"],
        "budget_tokens": entry.settings["budget_tokens"],
        "budget_bytes": entry.settings["budget_bytes"],
        **_numbers(estimator, scores),
        "recall_delay": _delays(estimator, scores),
        "n": len(run.items),
        "n_unparsed": _n_asked(mark for mark in scores.marks if mark.is_answered and not mark.is_parsed),
        "n_unanswered": _n_asked(mark for mark in scores.marks if not mark.is_answered),
        "videos": estimator.n_videos,
        "held": None if entry.held is None else asdict(entry.held),
        "by_clock": None if entry.by_clock is None else asdict(entry.by_clock),
    }


def _n_asked(marks: Iterable[Mark]) -> int:
    """Of how many questions or polls these are: some have a mark for each part of a reply, or of its verdict."""
    return len({mark.key.partition(":")[0] for mark in marks})


def _numbers(estimator: Estimator, scores: Scores) -> Row:
    return {
        "averages": estimator.cells(scores, [average.name for average in scores.averages]),
        "tasks": estimator.cells(scores, task_names(scores)),
        "extras": dict(scores.extras),
        "apart": [average.name for average in scores.averages if average.is_apart],
    }


def _delays(estimator: Estimator, scores: Scores) -> dict[str, Cell]:
    binned = by_delay(scores)
    return sorted_delays(estimator.cells(binned, task_names(binned)))


def _compared(estimator: Estimator, scores: Scores, reference: Scores | None, run: SavedRun, index: int | None) -> Row:
    if reference is None or index is None:
        return {"difference": None}
    settings = run.entries[index].settings
    above = differences(scores, reference)
    return {
        "difference": {
            "to": {"memory": settings["memory"], "budget": settings["budget"]},
            "averages": estimator.cells(above, [average.name for average in above.averages]),
        }
    }


def _reference(entries: Sequence[SavedEntry], entry: SavedEntry) -> int | None:
    """The first memory, at the same budget where it has several; None for itself and where there is none."""
    memory = entries[0].settings["memory"]
    first = [index for index, other in enumerate(entries) if other.settings["memory"] == memory]
    if entry.settings["memory"] == memory:
        return None
    if len(first) > 1:
        same = [index for index in first if entries[index].settings["budget"] == entry.settings["budget"]]
        return same[0] if same else None
    return first[0]
