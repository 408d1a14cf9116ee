"""From records to rows: what tables, JSON lines and figures show.

Shape letters: N questions, B resamples, E episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from hermes_stream.evals.episodes import REGIMES
from hermes_stream.evals.estimates import bin_name, delay_bin
from hermes_stream.evals.resampling import Floats, Ints, Score, draw_episodes, score, scores_by
from hermes_stream.evals.run import Record

# HERMES' headline: 4,000 tokens instead of 64 uniformly sampled frames of 196, which is 32 %.
HEADLINE_FRAMES = 64
HEADLINE_SHARE = 0.32

Row = dict[str, Any]


class Judged(Protocol):
    """A model whose memories were judged: a line-up, or what a file says of one."""

    @property
    def model(self) -> str: ...

    def tokens_of(self, n_frames: int) -> float:
        """Tokens that this many sampled frames make."""


def report(lineups: Sequence[Judged], records: Sequence[Sequence[Record]], n_episodes: int) -> list[Row]:
    """One row per entry and model; of one that failed, its error.

    Differences are paired, question by question, with the first memory of the list at the same budget; intervals of
    all rows come from the same draws of episodes.
    """
    times_drawn_BE = draw_episodes(n_episodes)
    return [
        _row(lineup, record, _reference(record, of_lineup), times_drawn_BE)
        for lineup, of_lineup in zip(lineups, records, strict=True)
        for record in of_lineup
    ]


def right_and_episode(record: Record) -> tuple[Floats, Ints]:
    """1 or 0 for each question, and the index of its episode."""
    right_N = np.array([verdict.is_right for verdict in record.verdicts], dtype=np.float64)
    return right_N, np.array([verdict.episode for verdict in record.verdicts], dtype=np.int64)


def by_regime(record: Record, value_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> dict[str, Score]:
    """The values' scores for each regime, in the order of `REGIMES`."""
    regimes = [verdict.question.regime for verdict in record.verdicts]
    scores = scores_by(regimes, value_N, episode_N, times_drawn_BE)
    return {name: scores[name] for name in REGIMES if name in scores}


def held_tokens(record: Record) -> float:
    """The most that any question could look at: mean of the layers."""
    return max(float(np.mean(verdict.held_tokens)) for verdict in record.verdicts)


def _row(lineup: Judged, record: Record, reference: Record | None, times_drawn_BE: Ints) -> Row:
    if record.error is not None:
        return {**_who(lineup, record), "error": record.error}
    right_N, episode_N = right_and_episode(record)
    held = held_tokens(record)
    return {
        **_who(lineup, record),
        **score(right_N, episode_N, times_drawn_BE),
        "regime": by_regime(record, right_N, episode_N, times_drawn_BE),
        "task": scores_by([v.question.task for v in record.verdicts], right_N, episode_N, times_drawn_BE),
        "recall_delay": _by_delay(record, right_N, episode_N, times_drawn_BE),
        "difference": None if reference is None else _difference(record, reference, times_drawn_BE),
        "bytes": max(verdict.memory_bytes for verdict in record.verdicts),
        "archive_bytes": max(verdict.archive_bytes for verdict in record.verdicts),
        "held_tokens": round(held, 1),
        "held_tokens_max": max(max(verdict.held_tokens) for verdict in record.verdicts),
        "share_of_64_frames": round(held / lineup.tokens_of(HEADLINE_FRAMES), 4),
        "kept_by_age_tenths_newest_first": np.mean(record.ages, axis=0).round(3).tolist(),
        "ttft_ms": None if record.times is None else round(1000 * record.times.ttft_seconds, 2),
        "ingest_ms_per_frame": None if record.times is None else round(1000 * record.times.ingest_seconds_per_frame, 2),
        "episodes": times_drawn_BE.shape[1],
    }


def _who(lineup: Judged, record: Record) -> Row:
    return {
        "policy": record.entry.memory,
        "model": lineup.model,
        "budget": record.entry.budget,
        "budget_tokens": record.budget_tokens,
    }


def _by_delay(record: Record, right_N: Floats, episode_N: Ints, times_drawn_BE: Ints) -> dict[str, Row]:
    bins = [delay_bin(verdict.question.recall_delay_s) for verdict in record.verdicts]
    scores = scores_by(bins, right_N, episode_N, times_drawn_BE)
    return {bin_name(at): {"from_s": at[0], "to_s": at[1], **scores[at]} for at in scores}


def _difference(record: Record, reference: Record, times_drawn_BE: Ints) -> Row:
    """What the record answers rightly more often than the reference, of the same questions."""
    right_N, episode_N = right_and_episode(record)
    more_N = right_N - right_and_episode(reference)[0]
    return {
        "to": {"policy": reference.entry.memory, "budget": reference.entry.budget},
        **score(more_N, episode_N, times_drawn_BE),
        "regime": by_regime(record, more_N, episode_N, times_drawn_BE),
    }


def _reference(record: Record, records: Sequence[Record]) -> Record | None:
    """The first memory's record, at the same budget where it has several; None for itself and where there is none."""
    first = [other for other in records if other.entry.memory == records[0].entry.memory]
    if record in first:
        return None
    if len(first) > 1:
        first = [other for other in first if other.entry.budget == record.entry.budget]
    return next((other for other in first if other.error is None), None)
