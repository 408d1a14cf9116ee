"""From looks to rows: precision, recall, false alarms and delays of standing questions, at all thresholds.

Shape letters: N hits or events, B resamples, E episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hermes_stream.evals.alert_truth import WORDINGS, Judgement, judge
from hermes_stream.evals.alerts import AlertRecord, Seen, every_frames
from hermes_stream.evals.lineup import Lineup
from hermes_stream.evals.resampling import Ints, Score, draw_episodes, score

# Even steps in log-odds, near enough.
THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
_HOUR_SECONDS = 3600

Row = dict[str, Any]
_Judged = list[tuple[int, Judgement]]


def alert_report(
    lineups: Sequence[Lineup],
    records: Sequence[Sequence[AlertRecord]],
    n_episodes: int,
    *,
    every: int | None = None,
    rules: dict[str, Any] | None = None,
) -> list[Row]:
    """One row per entry and task; of an entry that failed, its error.

    every: as of the run. rules: of the standing questions: threshold, hold_seconds, ...
    """
    drawn_BE = draw_episodes(n_episodes)
    rows = []
    for lineup, of_lineup in zip(lineups, records, strict=True):
        for record in of_lineup:
            who = _who(lineup, record, every_frames(lineup, every))
            if record.error is not None:
                rows.append({**who, "error": record.error})
                continue
            for task in WORDINGS:
                seen = [each for each in record.seen if each.posed.task == task]
                rows.append(
                    {**who, "task": task, **_row(seen, record.watched_seconds / len(WORDINGS), rules, drawn_BE)}
                )
    return rows


def _who(lineup: Lineup, record: AlertRecord, every: int) -> Row:
    entry = record.entry
    return {
        "policy": entry.memory,
        "model": lineup.model,
        "budget": entry.budget,
        "budget_tokens": record.budget_tokens,
        "look_s": every / lineup.fps,
    }


def _row(seen: Sequence[Seen], seconds: float, rules: dict[str, Any] | None, drawn_BE: Ints) -> Row:
    hours = seconds / _HOUR_SECONDS
    judged = _judged(seen, rules or {})
    delays = [delay for _, each in judged for delay in each.delay_seconds if delay is not None]
    n_false = sum(each.n_false for _, each in judged)
    return {
        "precision": _precision(judged, drawn_BE),
        "recall": _recall(judged, drawn_BE),
        "n_false": n_false,
        "n_false_alike": sum(each.n_alike for _, each in judged),
        "n_repeated": sum(each.n_repeated for _, each in judged),
        "false_per_hour": round(n_false / hours, 2),
        "delay_s": {name: _percentile(delays, share) for name, share in (("median", 50), ("p90", 90))},
        "questions": len(seen),
        "hours": round(hours, 2),
        "episodes": drawn_BE.shape[1],
        "curve": [_point(seen, hours, (rules or {}) | {"threshold": each}, drawn_BE) for each in THRESHOLDS],
    }


def _point(seen: Sequence[Seen], hours: float, rules: dict[str, Any], drawn_BE: Ints) -> Row:
    judged = _judged(seen, rules)
    return {
        "threshold": rules["threshold"],
        "precision": (_precision(judged, drawn_BE) or {"accuracy": None})["accuracy"],
        "recall": (_recall(judged, drawn_BE) or {"accuracy": None})["accuracy"],
        "false_per_hour": round(sum(each.n_false for _, each in judged) / hours, 2),
    }


def _judged(seen: Iterable[Seen], rules: dict[str, Any]) -> _Judged:
    """With the index of each one's episode."""
    judged = []
    for each in seen:
        question = each.posed.question.model_copy(update=rules)
        judged.append((each.episode, judge(each.posed, each.hit_seconds(question))))
    return judged


def _precision(judged: _Judged, drawn_BE: Ints) -> Score | None:
    """The share of hits that told something new."""
    return _score([(index, is_news) for index, each in judged for is_news in each.is_news], drawn_BE)


def _recall(judged: _Judged, drawn_BE: Ints) -> Score | None:
    """The share of due events that were told."""
    return _score([(index, delay is not None) for index, each in judged for delay in each.delay_seconds], drawn_BE)


def _score(values: Sequence[tuple[int, bool]], drawn_BE: Ints) -> Score | None:
    """None where there is nothing to count."""
    if not values:
        return None
    episode_N, value_N = zip(*values, strict=True)
    return score(np.array(value_N, dtype=np.float64), np.array(episode_N), drawn_BE)


def _percentile(values: Sequence[float], share: float) -> float | None:
    return round(float(np.percentile(values, share)), 2) if values else None
