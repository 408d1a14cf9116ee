"""What a run said, counted: words shared with the transcript, and wins before a judge, with intervals over segments.

Shape letters: B resamples, C counts, N segments.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hermes_stream.evals.inf_streams.duel import Judgement, Pair, Votes
from hermes_stream.evals.inf_streams.games import InfStreams, Segment
from hermes_stream.evals.inf_streams.overlap import bleu, bleu_counts, rouge_l, words_of
from hermes_stream.evals.inf_streams.spoken import Spoken
from hermes_stream.evals.resampling import draw_episodes, score

Floats = NDArray[np.float64]
Row = dict[str, Any]
_Key = TypeVar("_Key", bound=Hashable)

_N_PARTS = 5
_BOUNDS = 2.5, 97.5
_DIGITS = 4
_OF_RUN = ("model", "dtype", "policy", "budget_tokens", "mode", "past", "fps", "temperature", "seed")


def overlap_row(run: Spoken, data: InfStreams) -> Row:
    """What a run shares with the transcripts of all segments that it has watched; None for numbers of none."""
    covered = [segment for segment in data.segments if run.covers(segment)]
    texts = [(words_of(run.text(segment)), words_of(segment.reference)) for segment in covered]
    rouge_N = np.array([rouge_l(said, wanted) for said, wanted in texts])
    counts_NC = np.array([bleu_counts(said, wanted) for said, wanted in texts], dtype=np.float64)
    minutes = sum(segment.end_seconds - segment.start_seconds for segment in covered) / 60
    return {
        "run": run.name,
        **{name: run.settings.get(name) for name in _OF_RUN},
        "segments": len(covered),
        "n_uncovered": len(data.segments) - len(covered),
        "n_silent": sum(not said for said, _ in texts),
        "n_broken_lines": run.n_broken,
        "words_per_minute": _rate(sum(len(said) for said, _ in texts), minutes),
        "reference_words_per_minute": _rate(sum(len(wanted) for _, wanted in texts), minutes),
        "rouge_l": _mean(rouge_N) if covered else None,
        "bleu": _bleu(counts_NC) if covered else None,
        "rouge_l_by_fifth": _means_by([fifth_of(segment, data) for segment in covered], rouge_N),
    }


def pairs_of(run: Spoken, other: Spoken, data: InfStreams) -> list[Pair]:
    """What both said about each segment that both have watched."""
    return [
        Pair(segment, run.text(segment), other.text(segment))
        for segment in data.segments
        if run.covers(segment) and other.covers(segment)
    ]


def duel_row(other: Spoken, pairs: Sequence[Pair], judgement: Judgement, data: InfStreams) -> Row:
    """How often a run won against another: a tie, where the orders disagree, is half a win.

    rate: of segments with two readable replies. official: votes over all replies, as the release reads them.
    order_agreement: share of segments in which both orders name the same speaker. first_named: share of votes for who
    is shown first; 0.5 without a liking for a place.
    """
    readable = [(pair, votes.for_mine) for pair, votes in zip(pairs, judgement.votes, strict=True) if votes.is_judged]
    won = [(pair, sum(each) / 2) for pair, each in readable if each is not None]
    value_N = np.array([value for _, value in won])
    asked = [votes for votes in judgement.votes if votes.is_judged and not votes.is_same]
    clear = [votes.for_mine for votes in asked if votes.for_mine is not None]
    return {
        "against": other.name,
        "rate": _mean(value_N) if won else None,
        "official": _official(judgement.votes),
        "n_wins": int((value_N == 1).sum()),
        "n_ties": int((value_N == 0.5).sum()),
        "n_losses": int((value_N == 0).sum()),
        "n_same": sum(votes.is_same for votes in judgement.votes),
        "n_unreadable": len(readable) - len(won),
        "n_unjudged": sum(not votes.is_judged for votes in judgement.votes),
        "n_not_both": len(data.segments) - len(pairs),
        "order_agreement": _share([first == second for first, second in clear]),
        "first_named": _share([named for first, second in clear for named in (first, not second)]),
        "by_fifth": _means_by([fifth_of(pair.segment, data) for pair, _ in won], value_N),
        "by_video": _means_by([pair.segment.video for pair, _ in won], value_N),
    }


def segment_rows(pairs: Sequence[Pair], judgement: Judgement, judge: str) -> list[Row]:
    """A line for each segment, in the published format; what was not judged readably has no winner."""
    rows = []
    for pair, votes in zip(pairs, judgement.votes, strict=True):
        segment, mine = pair.segment, votes.for_mine
        first, second = (None, None) if mine is None else (("A" if won else "B") for won in mine)
        n_mine = None if mine is None else sum(mine)
        where = {"video": segment.video, "title": segment.title}
        times = {"start": segment.start_seconds, "end": segment.end_seconds}
        winner = None if n_mine is None else ("B", "equal", "A")[n_mine]
        counts = None if n_mine is None else {"A": n_mine, "B": 2 - n_mine}
        named = {"model": judge, "vote_ab": first, "vote_ba": second}
        rows.append({**where, **times, "winner": winner, "votes": counts, "judge": named})
    return rows


def fifth_of(segment: Segment, data: InfStreams) -> int:
    """Which fifth of its video's scored time a segment begins in: 1 to 5."""
    of_video = [each for each in data.segments if each.video == segment.video]
    start = min(each.start_seconds for each in of_video)
    end = max(each.end_seconds for each in of_video)
    return min(int(_N_PARTS * (segment.start_seconds - start) / (end - start)), _N_PARTS - 1) + 1


def _mean(value_N: Floats) -> Row:
    """A mean with its interval over resampled segments."""
    found = score(value_N, np.arange(len(value_N)), draw_episodes(len(value_N)))
    return {"mean": found["accuracy"], "low": found["low"], "high": found["high"], "n": found["n"]}


def _bleu(counts_NC: Floats) -> Row:
    """Of all segments together, with its interval over resampled ones."""
    n = len(counts_NC)
    low = high = None
    if n > 1:
        resampled_B = bleu(draw_episodes(n) @ counts_NC)
        low, high = (round(float(bound), _DIGITS) for bound in np.percentile(resampled_B, _BOUNDS))
    value = float(bleu(counts_NC.sum(axis=0, keepdims=True))[0])
    return {"mean": round(value, _DIGITS), "low": low, "high": high, "n": n}


def _means_by(groups: Sequence[_Key], value_N: Floats) -> dict[_Key, Row]:
    by_group: dict[_Key, list[float]] = {}
    for group, value in zip(groups, value_N, strict=True):
        by_group.setdefault(group, []).append(float(value))
    return {group: _mean(np.array(values)) for group, values in by_group.items()}


def _official(votes: Sequence[Votes]) -> float | None:
    return _share([won for each in votes if each.is_judged for won in each.official_for_mine])


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), _DIGITS) if values else None


def _rate(n_words: int, minutes: float) -> float | None:
    return round(n_words / minutes, 1) if minutes else None
