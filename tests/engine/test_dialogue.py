"""A question that follows others is the stock model's whole conversation, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hermes_stream import Engine, KeepAll, Query, SlidingWindow, Turn, UsageError
from hermes_stream.errors import LimitError
from hermes_stream.models.load import load_adapter
from hermes_stream.policies.spec import parse_memory
from hermes_stream.types import Frame
from tests.engine.direct import assert_same_bits, memory_bits, open_direct, question_logits, watch_direct
from tests.oracles.chat_oracle import conversation
from tests.oracles.stock_llava import StockLlava
from tests.oracles.stock_qwen import StockQwen2_5VL, StockQwen3VL
from tests.tiny import make_frames, save_checkpoint

TURNS = (Turn("Which colour is the circle?", "red"), Turn("And where?", "It is {left}.\nYes."))
STOCK: dict[str, Any] = {"llava_onevision": StockLlava, "qwen2_5_vl": StockQwen2_5VL, "qwen3_vl": StockQwen3VL}
# What the stock oracles put around a question themselves.
ENDS = {
    "llava_onevision": ("\n", "<|im_end|><|im_start|>assistant\n"),
    "qwen2_5_vl": ("", "<|im_end|>\n<|im_start|>assistant\n"),
    "qwen3_vl": ("", "<|im_end|>\n<|im_start|>assistant\n"),
}


@pytest.fixture(scope="module", params=STOCK)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("checkpoints") / request.param)


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Any:
    return load_adapter(str(folder))


def stock_logits(folder: Path, adapter: Any, frames: Sequence[Frame], question: str) -> torch.Tensor:
    stock, (start, end) = STOCK[folder.name](folder), ENDS[folder.name]
    turns = [(turn.question, turn.answer) for turn in TURNS]
    text = conversation(folder.name, turns, question).removeprefix(start).removesuffix(end)
    if folder.name == "llava_onevision":
        return stock.logits(adapter._preprocess(frames), text)
    return stock.logits(frames, *adapter._patches(frames), text)


@pytest.mark.parametrize("question", ["left or right?", "What does {text} say?"])
def test_logits_equal_the_stock_forward_of_the_whole_conversation(folder: Path, adapter: Any, question: str) -> None:
    frames = make_frames(8, seed=4)
    stream = open_direct(adapter, KeepAll())
    watch_direct(stream, frames, 4)
    found = question_logits(stream, Query(question, turns=TURNS))
    torch.testing.assert_close(found, stock_logits(folder, adapter, frames, question), atol=1e-4, rtol=0)
    assert not torch.allclose(found, question_logits(stream, question), atol=1e-2)


def test_a_conversation_is_written_as_the_chat_template_writes_it(folder: Path, adapter: Any) -> None:
    """Token by token, also where no frame has been seen yet."""
    for turns in ((), TURNS[:1], TURNS):
        expected = conversation(folder.name, [(turn.question, turn.answer) for turn in turns], "left?")
        for after_video in (True, False):
            found_TE = adapter.question("left?", after_video=after_video, turns=turns)
            expected_TE = adapter.guidance(expected)
            assert torch.equal(found_TE[-expected_TE.shape[0] :], expected_TE)


def test_only_the_question_that_follows_sees_the_conversation(adapter: Any) -> None:
    with Engine(adapter) as engine, engine.open(SlidingWindow(budget=150)) as session:
        session.watch(make_frames(9))
        before, plain = memory_bits(session.stream), session.ask("left?", max_new_tokens=3).result()
        following = Query("left?", turns=TURNS, max_new_tokens=3, evidence=2)
        answer = session.ask(following).result()
        assert len(answer.evidence) == 2
        asked, unasked = session.score(following).result(), session.score("left?").result()
        assert asked.probabilities != unasked.probabilities
        assert session.ask("left?", max_new_tokens=3).result().token_ids == plain.token_ids
        assert session.stream.history == ()
        with pytest.raises(LimitError, match="ask a shorter one, or with fewer turns before it"):
            session.ask(Query("left?", turns=(Turn("x", "word " * 600),))).result()
        assert_same_bits(before, memory_bits(session.stream))


def test_what_a_question_recalls_is_chosen_by_the_question_alone(adapter: Any) -> None:
    streams = [open_direct(adapter, parse_memory("rekv(budget=100)")) for _ in range(2)]
    passed: list[list[int]] = [[], []]
    for stream, rows in zip(streams, passed, strict=True):
        watch_direct(stream, make_frames(12), 4)
        run = adapter.run
        query = Query("left?", turns=TURNS if rows is passed[1] else ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                adapter, "run", lambda batch, rows=rows, run=run: (rows.append(batch.n_tokens), run(batch))[1]
            )
            assert bool(question_logits(stream, query).isfinite().all())
    assert len(passed[0]) == 2
    assert passed[0][0] == passed[1][0]
    assert passed[0][1] < passed[1][1]


def test_turns_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match=r"turns .* expected earlier questions and answers, each a Turn"):
        Query("x", turns=(("Which?", "red"),))  # type: ignore[arg-type]
