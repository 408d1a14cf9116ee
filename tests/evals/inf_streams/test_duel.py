"""Pairs before a judge over real HTTP: both orders, ties, doubts, failures that lose nothing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_stream.evals.inf_streams.duel import Judgement, Pair, Prompt, Votes, judge_pairs, letter_of
from hermes_stream.evals.inf_streams.games import InfStreams, Segment
from hermes_stream.evals.inf_streams.report import duel_row, segment_rows
from hermes_stream.evals.inf_streams.spoken import Spoken
from hermes_stream.evals.judges import open_asker
from hermes_stream.evals.judges.endpoint import EndpointSetting
from tests.evals.judges.chat_server import ChatServer, chat_server
from tests.oracles import commentary_oracle

SEGMENTS = tuple(Segment("game.mp4", 100 * n, 100 * n + 100, f"what happened in {n}") for n in range(10))
OTHER = Spoken("other", {}, {})


def data_of(segments: Sequence[Segment]) -> InfStreams:
    return InfStreams((), tuple(segments), (), "")


def pairs(mine: str = "good {}", theirs: str = "bad {}") -> list[Pair]:
    return [Pair(segment, mine.format(n), theirs.format(n)) for n, segment in enumerate(SEGMENTS)]


def texts_of(prompt: str) -> tuple[str, str]:
    lines = prompt.splitlines()
    return lines[lines.index("Speaker A:") + 1], lines[lines.index("Speaker B:") + 1]


def fair(prompt: str) -> str:
    return "A" if texts_of(prompt)[0].startswith("good") else "B"


def judged(server: ChatServer, kept: Path, given: Sequence[Pair] | None = None, n_at_once: int = 1) -> Judgement:
    setting = EndpointSetting(base_url=server.url, model="judge", n_retries=0)
    with open_asker(setting, kept) as asker:
        return judge_pairs(asker, Prompt(), pairs() if given is None else given, n_at_once)


def row_of(judgement: Judgement, given: Sequence[Pair] | None = None) -> dict[str, Any]:
    return duel_row(OTHER, pairs() if given is None else given, judgement, data_of(SEGMENTS))


def test_the_better_one_wins_wherever_it_stands(tmp_path: Path) -> None:
    with chat_server(fair) as server:
        row = row_of(judged(server, tmp_path / "kept.jsonl"))
        assert len(server.requests) == 20
    assert row["rate"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 10}
    assert (row["official"], row["order_agreement"], row["first_named"]) == (1.0, 1.0, 0.5)


def test_a_judge_that_always_names_the_first_makes_ties_only(tmp_path: Path) -> None:
    with chat_server(lambda prompt: "A") as server:
        row = row_of(judged(server, tmp_path / "kept.jsonl"))
    assert (row["rate"]["mean"], row["n_ties"], row["order_agreement"], row["first_named"]) == (0.5, 10, 0.0, 1.0)


def test_the_same_words_are_a_tie_without_a_judge(tmp_path: Path) -> None:
    same = pairs("good {}", "good {}")
    with chat_server(fair) as server:
        judgement = judged(server, tmp_path / "kept.jsonl", same)
        assert server.requests == []
    row = row_of(judgement, same)
    assert (row["n_same"], row["n_ties"], row["rate"]["mean"], row["official"]) == (10, 10, 0.5, 0.5)
    assert row["order_agreement"] is None, "nobody was asked"


def test_both_texts_and_the_transcript_are_shown_and_cut(tmp_path: Path) -> None:
    long = [Pair(SEGMENTS[0], "x" * 9000, "bad")]
    with chat_server(fair) as server:
        judged(server, tmp_path / "kept.jsonl", long)
        asked = [request["messages"][-1]["content"] for request in server.requests]
    assert all("what happened in 0" in prompt for prompt in asked)
    assert [texts_of(prompt) for prompt in asked] == [("x" * 8000, "bad"), ("bad", "x" * 8000)]


def test_a_judge_that_fails_halfway_loses_nothing(tmp_path: Path) -> None:
    kept, n_asked = tmp_path / "kept.jsonl", itertools.count()
    with chat_server(lambda prompt: fair(prompt) if next(n_asked) < 7 else 503) as server:
        half = row_of(first := judged(server, kept))
        assert "503" in str(first.error)
        assert len(server.requests) == 8, "a judge that failed is not asked on"
        server.answer = fair
        whole = row_of(judged(server, kept))
        assert len(server.requests) == 8 + 13
    assert (half["n_wins"], half["n_unjudged"], half["rate"]["n"]) == (3, 7, 3)
    assert (whole["n_wins"], whole["n_unjudged"]) == (10, 0)


def test_many_at_once_are_told_apart(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=10)
    mixed = [pair if n % 2 else Pair(pair.segment, pair.theirs, pair.mine) for n, pair in enumerate(pairs())]

    def answer(prompt: str) -> str:
        together.wait()
        return fair(prompt)

    with chat_server(answer) as server:
        votes = judged(server, tmp_path / "kept.jsonl", mixed, n_at_once=2).votes
    assert [each.for_mine for each in votes] == [(True, True) if n % 2 else (False, False) for n in range(10)]


REPLIES = st.sampled_from(["A", "B", "neither"])


@given(st.lists(st.one_of(st.none(), st.tuples(REPLIES, REPLIES)), min_size=1, max_size=10))
def test_wins_ties_and_doubts_are_counted_by_their_definitions(replies: list[tuple[str, str] | None]) -> None:
    votes = tuple(Votes() if pair is None else Votes(*pair) for pair in replies)
    row = row_of(Judgement(votes), pairs()[: len(replies)])
    wanted = commentary_oracle.duel(replies)
    found = {name: row[name] for name in wanted} | {"rate": None if row["rate"] is None else row["rate"]["mean"]}
    assert found == pytest.approx(wanted, abs=1e-4)
    assert row["n_not_both"] == len(SEGMENTS) - len(replies)


def test_an_interval_holds_the_rate_and_one_segment_has_none() -> None:
    votes = (Votes("A", "B"), Votes("B", "A"), Votes("A", "A"), Votes("A", "B"))
    cell = row_of(Judgement(votes), pairs()[:4])["rate"]
    assert cell["low"] < cell["mean"] == 0.625 < cell["high"]
    assert row_of(Judgement(votes[:1]), pairs()[:1])["rate"] == {"mean": 1.0, "low": None, "high": None, "n": 1}


@pytest.mark.parametrize("change", [lambda votes: Votes(None, votes.theirs_first), lambda votes: Votes("A", None)])
def test_half_a_judgement_is_none(change: Callable[[Votes], Votes]) -> None:
    row = row_of(Judgement((change(Votes("A", "B")),)), pairs()[:1])
    assert (row["n_unjudged"], row["rate"], row["official"]) == (1, None, None)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("A", "A"), (" **B**.\n", "B"), ("Speaker A", "A"), ("candidate b", "B"),
        ("Both", None), ("A or B", None), ("Answer", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_a_reply_is_a_letter_or_nothing(reply: str | None, letter: str | None) -> None:
    assert letter_of(reply) == letter


def test_segments_are_written_in_the_published_format() -> None:
    judgement = Judgement((Votes("A", "B"), Votes("A", "A"), Votes("A", "hm"), Votes()))
    rows = segment_rows(pairs()[:4], judgement, "judge")
    assert rows[0] == {
        "video": "game.mp4", "title": "", "start": 0, "end": 100, "winner": "A", "votes": {"A": 2, "B": 0},
        "judge": {"model": "judge", "vote_ab": "A", "vote_ba": "A"},
    }  # fmt: skip
    assert [row["winner"] for row in rows] == ["A", "equal", None, None]
    assert rows[1]["judge"] == {"model": "judge", "vote_ab": "A", "vote_ba": "B"}
