"""Scores are the stock model's probabilities, and asking for them changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, KeepAll, PendingScores, Query, Scores, SlidingWindow, UsageError
from hermes_stream.engine.choosing import choose_tokens
from hermes_stream.engine.forward import run_forward
from hermes_stream.engine.graphs.static_forwards import Outcome
from hermes_stream.engine.pending import Channel
from hermes_stream.engine.scoring import ScoreTask, first_tokens
from hermes_stream.engine.stream import Stream
from hermes_stream.errors import LimitError, SessionClosed, SessionError
from hermes_stream.models.adapter import Adapter
from hermes_stream.models.load import load_adapter
from hermes_stream.policies import POLICIES
from hermes_stream.types import Frame
from tests.engine.direct import (
    assert_same_bits,
    assert_same_snapshots,
    memory_bits,
    open_direct,
    question_logits,
    take_snapshot,
    watch_direct,
)
from tests.engine.pausing import paused
from tests.oracles import score_oracle
from tests.oracles.stock_llava import StockLlava
from tests.oracles.stock_qwen import StockQwen2_5VL, StockQwen3VL
from tests.readback import NothingComesBack
from tests.tiny import make_frames, save_checkpoint

QUESTION = "Is the circle red?"
CHOICES = ("yes", "no", "left", "blue")


def llava_logits(folder: Path, adapter: Any, frames: Sequence[Frame], text: str) -> tuple[torch.Tensor, Any]:
    stock = StockLlava(folder)
    return stock.logits(adapter._preprocess(frames), text), stock.ids


def qwen_logits(kind: Any) -> Callable[..., tuple[torch.Tensor, Any]]:
    def logits(folder: Path, adapter: Any, frames: Sequence[Frame], text: str) -> tuple[torch.Tensor, Any]:
        stock = kind(folder)
        return stock.logits(frames, *adapter._patches(frames), text), stock.ids

    return logits


STOCK = {
    "llava_onevision": llava_logits,
    "qwen2_5_vl": qwen_logits(StockQwen2_5VL),
    "qwen3_vl": qwen_logits(StockQwen3VL),
}


@pytest.fixture(scope="module", params=STOCK)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    folder = tmp_path_factory.mktemp("checkpoints") / "llava"
    return load_adapter(str(save_checkpoint("llava_onevision", folder, num_hidden_layers=3)))


def assert_scores(found: Scores, expected: tuple[list[float], float], tolerance: float) -> None:
    assert found.probabilities == pytest.approx(expected[0], abs=tolerance)
    assert sum(found.probabilities) == pytest.approx(1, abs=1e-12)
    assert found.share == pytest.approx(expected[1], abs=tolerance)


def score_direct(stream: Stream, text: str | Query, choices: tuple[str, ...]) -> Scores:
    query = Query(text) if isinstance(text, str) else text
    with torch.inference_mode():
        task = ScoreTask(stream, query, choices, Channel(PendingScores(query)))
        for _ in range(2):
            (token,) = choose_tokens([task], run_forward(stream.adapter, [task.segment()]))
            assert isinstance(token, int)
            if (scores := task.accept(token)) is not None:
                return scores
    raise AssertionError("a score takes one forward, and one before it where the question recalls")


def test_scores_equal_the_stock_models_softmax(folder: Path) -> None:
    adapter, frames = load_adapter(str(folder)), make_frames(8, seed=3)
    logits_V, ids = STOCK[folder.name](folder, adapter, frames, QUESTION)
    with Engine(adapter) as engine, engine.open(KeepAll(), chunk=4) as session:
        session.watch(frames)
        found = session.score(QUESTION, CHOICES).result()
    assert_scores(found, score_oracle.scores(logits_V.double().tolist(), ids, CHOICES), 1e-5)
    assert found.choices == CHOICES
    assert found.best == CHOICES[found.probabilities.index(max(found.probabilities))]
    assert found.time_seconds == 7
    assert 0 < found.seconds < 60


def test_letters_of_options_are_scored_where_they_would_be_answered(small: Adapter) -> None:
    query = Query("Which colour?", options=("red", "green", "blue"))
    stream = open_direct(small, KeepAll())
    watch_direct(stream, make_frames(4), 4)
    with Engine(small) as engine, engine.open(KeepAll()) as session:
        session.watch(make_frames(4))
        found = session.score(query).result()
        assert session.score("Which colour?").result().choices == ("yes", "no")
    logits_V = question_logits(stream, query)
    assert found.choices == ("A", "B", "C")
    expected = score_oracle.scores(logits_V.double().tolist(), lambda text: list(small.token_ids(text)), "ABC")
    assert_scores(found, expected, 1e-6)


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_is_scored_as_it_would_answer_and_left_as_it_was(name: str, small: Adapter) -> None:
    """Also those whose questions recall, or bring frames of their own."""
    stream = open_direct(small, POLICIES[name]().with_budget(2 * small.facts.tokens_per_frame))
    watch_direct(stream, make_frames(10), 4)
    before = take_snapshot(stream)
    found = score_direct(stream, QUESTION, CHOICES)
    assert_same_snapshots(before, take_snapshot(stream))
    logits = question_logits(stream, QUESTION).double().tolist()
    assert_scores(found, score_oracle.scores(logits, lambda text: list(small.token_ids(text)), CHOICES), 1e-6)


def test_a_packed_score_equals_one_alone(small: Adapter) -> None:
    """Beside frames, answers and scores of other sessions; the memory stays as it is, bit by bit."""
    alone = {}
    for seed in range(3):
        stream = open_direct(small, SlidingWindow(budget=30))
        watch_direct(stream, make_frames(7, seed=seed), 4)
        alone[seed] = score_direct(stream, QUESTION, CHOICES)
    with Engine(small) as engine:
        sessions = [engine.open(SlidingWindow(budget=30), chunk=4) for _ in range(3)]
        for seed, session in enumerate(sessions):
            session.watch(make_frames(7, seed=seed))
        before = [memory_bits(session.stream) for session in sessions]
        with paused(engine):
            answers = [session.ask("left?", max_new_tokens=4) for session in sessions]
            scores = [session.score(QUESTION, CHOICES) for session in sessions]
            coming = [engine.submit_watch(sessions[0], make_frames(1, start=7))]
        for seed, pending in enumerate(scores):
            found = pending.result()
            assert_scores(found, (list(alone[seed].probabilities), alone[seed].share), 1e-5)
        for answer in answers:
            answer.result()
        coming[0].result()
        for bits, session in list(zip(before, sessions, strict=True))[1:]:
            assert_same_bits(bits, memory_bits(session.stream))


def test_scores_wait_for_the_device_no_more_often_than_answers(small: Adapter) -> None:
    """Once for the tokens of all; the scores themselves are read when they are told."""
    stream = open_direct(small, KeepAll())
    watch_direct(stream, make_frames(4), 4)
    query = Query(QUESTION)
    with torch.inference_mode():
        tasks = [ScoreTask(stream, query, CHOICES, Channel(PendingScores(query))) for _ in range(2)]
        outcome = run_forward(small, [task.segment() for task in tasks])
        with NothingComesBack():
            choose_tokens(tasks, outcome)


def test_a_later_forward_in_the_same_buffers_does_not_change_a_score(small: Adapter) -> None:
    """Recorded forwards overwrite the logits that they returned."""
    stream = open_direct(small, KeepAll())
    watch_direct(stream, make_frames(4), 4)
    expected = score_direct(stream, QUESTION, CHOICES)
    query = Query(QUESTION)
    with torch.inference_mode():
        task = ScoreTask(stream, query, CHOICES, Channel(PendingScores(query)))
        outcome = run_forward(small, [task.segment()])
        buffers = Outcome(outcome.logits_AV.clone(), outcome.largest_A.clone())
        (token,) = choose_tokens([task], buffers)
        buffers.logits_AV.fill_(7)
        found = task.accept(int(token))  # type: ignore[call-overload]
    assert found is not None
    assert found.probabilities == expected.probabilities


def test_choices_that_begin_alike_are_told_apart_by_the_rest_of_their_first_tokens() -> None:
    """ "in" is the choice's own way to begin, "the" is not; a token that is only a space says nothing."""
    words = {" ": 0, "in": 1, "In": 2, " in": 3, " In": 3, "out": 3, "Out": 4, " out": 0, " Out": 0}
    assert first_tokens(lambda text: [words[text], 9], ("in", "out")) == ((1, 2), (4,))


def test_choices_that_cannot_be_told_apart_are_refused_in_one_line(small: Adapter) -> None:
    with Engine(small) as engine, engine.open(KeepAll()) as session:
        session.watch(make_frames(2))
        for choices in ("yes", ("yes",), (), ("yes", " ")):
            with pytest.raises(UsageError, match="expected 2 texts or more"):
                session.score(QUESTION, choices)
        for choices in (("red", "reddish"), ("yes", "yes")):
            with pytest.raises(
                UsageError, match=f"choices '{choices[0]}' and '{choices[1]}' begin with the same token"
            ):
                session.score(QUESTION, choices).result()
        assert session.score(QUESTION).result().choices == ("yes", "no")


def test_scores_end_as_answers_do(small: Adapter) -> None:
    with Engine(small) as engine:
        session = engine.open(KeepAll())
        session.watch(make_frames(2))
        with pytest.raises(LimitError, match="ask a shorter one"):
            session.score("word " * 2000).result()
        with paused(engine):
            cancelled = session.score(QUESTION)
            cancelled.cancel()
        with pytest.raises(SessionClosed, match="cancelled"):
            cancelled.result()
        session.close()
        with pytest.raises(SessionClosed, match="session is closed"):
            session.score(QUESTION)


def test_logits_that_are_not_finite_stop_the_session(small: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(small) as engine, engine.open(KeepAll()) as session, engine.open(KeepAll()) as other:
        for each in (session, other):
            each.watch(make_frames(2))
        logits = small.logits
        monkeypatch.setattr(small, "logits", lambda hidden_LE: logits(hidden_LE).fill_(torch.nan))
        with pytest.raises(SessionError, match="logits of an answer were not finite"):
            session.score(QUESTION).result()
        monkeypatch.undo()
        with pytest.raises(SessionError):
            session.score(QUESTION)
        assert other.score(QUESTION).result().share > 0
